"""The Flow-GRPO objective (AgentFlow, arXiv 2510.05592, section 3.2) as pure functions of numbers and tensors.

Of each question of a step, G runs of the agent are made. Run i has T_i turns of the planner; its reply a_{i,t} to the
prompt s_{i,t} has |a_{i,t}| sampled tokens. The update raises

    J(theta) = sum_i sum_t sum_j  w_{i,t} * ( min( r_{i,t,j} A_i, clip(r_{i,t,j}, 1 - low, 1 + high) A_i )
                                              - beta * KL_{i,t,j} )                                       (eq. 5)

over the sampled tokens j of all turns t of all N finished runs i of the step, with

    R_i          the reward of run i, known at its end. Each of its turns gets it (eq. 4), so the advantage bears no
                 index t.                                                      training.rollouts.rewards.make_reward
    A_i          = (R_i - mean R) / std R  over the G runs of i's question, std with G - 1; 0 where all earned the
                 same.                                                 (eq. 6)  training.algo.credit.normalised
    w_{i,t}      = 1 / (N * T_i * |a_{i,t}|): the mean over tokens, then turns, then runs. N counts the runs of groups
                 without variance, too.                                        training.algo.credit.mean_over_rollouts
    r_{i,t,j}    = pi_theta(a_{i,t,j} | s_{i,t}, a_{i,t,<j}) / pi_old(the same): the ratio of the policy to itself
                 before the step's first update.                               training.algo.objectives.policy_loss
    min, clip    PPO's pessimistic bound, low = 0.2, high = 0.3.               training.algo.objectives.ppo
    KL_{i,t,j}   = x - log x - 1  with  x = pi_ref(a_{i,t,j} | ...) / pi_theta(a_{i,t,j} | ...): the k3 estimator of
                 KL(pi_theta || pi_ref) at each token; beta = 0.001.           training.algo.objectives.k3

Where several roles are trained, each turn is some role k's, and J is the sum over the roles of J_k, the same objective
of k's turns alone:

    A_{i,k}      in place of A_i: mean and std over those of the G runs in which k acted, each counted once; the reward
                 is common to all roles (Dr. MAS, arXiv 2602.08847). A run in which no role acted counts for every one.
                                                                               training.algo.credit.turn_advantages
    w_{i,t}      = 1 / (N * T_{i,k} * |a_{i,t}|): T_{i,k} counts k's turns of the run. N is common to all roles, so a
                 role that acts seldom weighs little.                          training.update.assemble.assemble
    theta        one adapter for all roles, or theta_k, one for each (`policies: per_role`); J_k then depends on theta_k
                 alone, whose gradient is clipped by itself.                   training.models.adapters

With one role this is the objective above.

All log-probabilities are of the distribution that was sampled from: logits divided by the temperature.

One factor is not the paper's. Sampler and trainer are two programs, so pi_old differs a little from the policy mu that
drew the tokens, and more where rollouts are older than the policy. Each token's bound is therefore multiplied by
min(pi_old / mu, tis_cap), without gradient (truncated importance sampling); `tis_cap: null` takes r to mu itself.

The loss is -J, a plain sum over tokens whose weights are settled before anything is packed or dealt to processes.
Variants replace one symbol each: A_i by `ESTIMATORS`, the runs and turns it is compared with by `GROUPINGS`, w_{i,t} by
`REDUCTIONS`, the bound by `OBJECTIVES`.

    credit.py       A and w: advantages and token weights
    objectives.py   the bound, the KL, and the loss of a micro-batch
    settings.py     which objective, with which constants
"""
