"use strict";

// A training run over its updates: figures, tool mix, failures, phases, alarms.
const Training = (() => {
  const { h } = Dom;

  // Each chart: its title, and its lines by name of the figure in `metrics.jsonl`, or all figures with a prefix. Where
  // several roles are trained, a line for each follows (`byRole`, the figure of which they are a part).
  const CHARTS = [
    { title: "reward", about: "Mean over the rollouts that finished.", lines: { reward: "reward", "eval/reward": "validation" } },
    { title: "pass rate", about: "Share of rollouts whose answer is right.", lines: { pass_rate: "training", "eval/pass_rate": "validation", solved_once: "solved once in a group" } },
    { title: "turns", about: "Steps of a rollout before its answer.", lines: { turns: "turns a run" }, byRole: "turns" },
    { title: "tokens a reply", about: "Length of what the policy writes in a turn.", lines: { completion_tokens: "tokens a reply" }, byRole: "completion_tokens" },
    { title: "entropy, nats a token", about: "How undecided the policy is; near 0 it always writes the same.", lines: { entropy: "entropy" }, byRole: "entropy" },
    { title: "KL to the reference", about: "How far the policy has moved from where it began.", lines: { kl: "kl" }, byRole: "kl" },
    { title: "clip fraction", about: "Share of tokens whose probability ratio left the clip range.", lines: { clipped_low: "low", clipped_high: "high", importance_truncated: "importance truncated" } },
    { title: "log-prob gap of sampler and trainer", about: "How far the two disagree about the same tokens; it should stay near 0.", lines: { logprob_gap: "mean", largest_logprob_gap: "largest" }, byRole: "logprob_gap" },
    { title: "groups without variance", about: "Groups whose rollouts all got one reward, and so teach nothing.", lines: { zero_variance: "share" } },
    { title: "rejected turns", about: "Share of turns that the verifier rejected, whose call failed (in your own agent), that could not be read, or that repeat an earlier one.", lines: { rejected_turns: "rejected", failed_turns: "failed", unreadable_plans: "unreadable plans", repeated_plans: "repeated plans" } },
    { title: "errors, share of turns", about: "Turns whose call could not be made or failed, and each kind of error, those of plans and results too.", lines: { tool_errors: "tool errors" }, prefix: "error/" },
    { title: "seconds by phase", about: "Where the time of a step goes.", prefix: "seconds/" },
    { title: "seconds of a run", about: "Where a run's time goes, on average: models, tools, sandbox, our own process, and what it waits for (wait_engine, wait_sandbox, wait_place: concurrency).", prefix: "rollout_seconds/" },
    { title: "seconds of the slowest run", about: "The same of the run that the step ended with.", prefix: "slowest_seconds/" },
    { title: "stretch of the rollouts", about: "A step's rollouts over the models and tools of its longest run: 1 means that nothing had to wait.", lines: { stretch: "stretch" } },
    { title: "failures by kind", about: "Rollouts that failed with their surroundings; they are left out of the update.", prefix: "failed/" },
    { title: "ended by", about: "Who or what ended the rollouts: the verifier's stop, or a limit.", prefix: "ended_by/" },
    { title: "gradient norm", about: "Before it is clipped.", lines: { grad_norm: "norm" }, byRole: "grad_norm" },
    { title: "roles asked", about: "Share of the rollouts in which each trained role acted.", prefix: "acted/" },
    { title: "loss by role", about: "The roles' losses; they add up to the loss.", prefix: "loss/" },
    { title: "spread of advantages by role", about: "Standard deviation over a role's turns; at 0 its update learns nothing.", prefix: "advantage_std/" },
    { title: "replies cut off, by role", about: "Share of a role's replies that reached max_tokens.", prefix: "cut_off/" },
    { title: "unreadable calls by role", about: "Tool calls a reply that could not be read and stayed text.", prefix: "unreadable_calls/" },
    { title: "trained tokens by role", about: "Sampled tokens of a step that carry loss.", prefix: "trained_tokens/" },
    { title: "tokens per second", about: "How fast replies are sampled.", lines: { tokens_per_second: "sampled" } },
  ];

  // Lines of one update belong together: a step's figures and a validation's.
  function merged(lines) {
    const byUpdate = new Map();
    for (const line of lines) {
      if (typeof line.update === "number") byUpdate.set(line.update, { ...byUpdate.get(line.update), ...line });
    }
    return [...byUpdate.values()].sort((a, b) => a.update - b.update);
  }

  // Figures made from the rollouts themselves, where a run has no metrics (yet).
  function fromRows(set) {
    const steps = new Map();
    for (const row of set.rows) {
      if (row.step === null) continue;
      if (!steps.has(row.step)) steps.set(row.step, []);
      steps.get(row.step).push(row);
    }
    return [...steps].sort(([a], [b]) => a - b).map(([step, members]) => {
      const finished = members.filter((row) => row.reward !== null);
      const line = { update: Data.stepNumber(set, step), rollouts: members.length, failed: members.length - finished.length };
      if (!finished.length) return line;
      line.reward = Format.mean(finished.map((row) => row.reward));
      line.pass_rate = Format.mean(finished.map((row) => Number(row.outcome === "right")));
      line.turns = Format.mean(finished.map((row) => row.turns));
      const tools = finished.flatMap((row) => row.tools);
      for (const { name, number } of Format.counted(tools)) line[`tool/${name}`] = number / tools.length;
      return line;
    });
  }

  const MOST = 7; // lines of a chart; a policy that writes nonsense names a new tool in every turn

  // Names of the figures with a prefix: the largest in sum, in order of name, and those that are too many.
  function named(lines, prefix) {
    const sums = new Map();
    for (const line of lines) {
      for (const [name, value] of Object.entries(line)) if (name.startsWith(prefix)) sums.set(name, (sums.get(name) || 0) + (Number(value) || 0));
    }
    const order = [...sums.keys()].sort((a, b) => sums.get(b) - sums.get(a) || (a < b ? -1 : 1));
    return { names: order.slice(0, MOST).sort(), others: order.slice(MOST) };
  }

  const column = (lines, name) => lines.map((line) => (typeof line[name] === "number" && Number.isFinite(line[name]) ? line[name] : null));

  function chart(lines, xs, spec, open) {
    const prefix = spec.prefix || (spec.byRole && `${spec.byRole}/`);
    const names = [...Object.keys(spec.lines || {}), ...(prefix ? named(lines, prefix).names : [])];
    const shown = (name) => (spec.lines && spec.lines[name]) || name.slice(prefix.length);
    const series = names.map((name) => ({ name: shown(name), values: column(lines, name) }))
      .filter((each) => each.values.some((value) => value !== null));
    return series.length ? Plots.lines(spec.title, xs, series, { open, about: spec.about }) : null;
  }

  function tools(lines, xs, open) {
    const { names, others } = named(lines, "tool/");
    if (!names.length) return null;
    const steps = lines.map((line, place) => ({ line, place })).filter(({ line }) => Object.keys(line).some((name) => name.startsWith("tool/")));
    const known = steps.map(({ line }) => line);
    const sum = (list) => known.map((line) => list.reduce((total, name) => total + (Number(line[name]) || 0), 0));
    const series = names.map((name) => ({ name: name.slice("tool/".length), values: sum([name]) }));
    if (others.length) series.push({ name: `${others.length} others`, values: sum(others) });
    return Plots.lines("tool mix, share of turns", steps.map(({ place }) => xs[place]), series, { stacked: true, open, about: SetView.TOOLS });
  }

  function stats(lines, rows) {
    const steps = lines.filter((line) => "reward" in line);
    const [first, last] = [steps[0], steps[steps.length - 1]];
    const change = (name, show) => (first && name in last ? `${show(first[name])} → ${show(last[name])}` : "–");
    const validated = lines.filter((line) => "eval/pass_rate" in line);
    return h("dl", { class: "stats" },
      SetView.stat("updates", Format.count(last ? last.update : 0)), SetView.stat("rollouts", Format.count(rows.length)),
      steps.length > 0 && [SetView.stat("reward", change("reward", Format.figure)), SetView.stat("pass rate", change("pass_rate", Format.percent)), SetView.stat("turns", change("turns", Format.figure))],
      validated.length > 0 && SetView.stat("validation", `${Format.percent(validated[0]["eval/pass_rate"])} → ${Format.percent(validated[validated.length - 1]["eval/pass_rate"])}`));
  }

  function alarms(list) {
    if (!list.length) return null;
    return h("section", { class: "alarms", "aria-label": "alarms" }, h("h3", {}, "alarms"), h("ul", {}, list.map((alarm) =>
      h("li", {}, h("b", {}, `update ${Format.figure(alarm.update)}`), " ", h("bdi", {}, String(alarm.text || ""))))));
  }

  function open(number) {
    const set = Data.sets[number];
    const box = h("div", { class: "training" });

    async function ready() {
      const facts = await Data.facts(number);
      const lines = facts.lines.length ? merged(facts.lines) : fromRows(set);
      const perStep = Number((facts.settings || {}).updates_per_step) || 1;
      const xs = lines.map((line) => line.update);
      const toStep = (update) => Route.go("set", { set: number, step: set.unit === "update" ? update : Math.max(0, Math.ceil(update / perStep) - 1) });
      Dom.fill(box, stats(lines, set.rows), alarms(facts.alarms), SetView.settings(facts), Learning.draw(set, facts.settings),
        xs.length ? h("div", { class: "charts wide" }, chart(lines, xs, CHARTS[0], toStep), chart(lines, xs, CHARTS[1], toStep), tools(lines, xs, toStep), CHARTS.slice(2).map((spec) => chart(lines, xs, spec, toStep)))
          : h("p", { class: "quiet" }, "No step has ended yet."),
        failures(set, number),
        h("p", { class: "quiet" }, "Drag in a chart to look closer, double-click a step to see its rollouts."));
    }
    return { element: box, ready, update: ready };
  }

  function failures(set, number) {
    const failed = set.rows.filter((row) => row.outcome === "failed");
    if (!failed.length) return null;
    return h("section", {}, Bars.draw("rollouts with infrastructure failures", Format.counted(failed.flatMap((row) => row.errors.filter((kind) => kind.startsWith("failed: ")))), { tone: "warm", about: "By what failed; they carry no reward." }),
      h("p", {}, h("a", { href: Route.link("set", { set: number, outcome: "failed" }) }, "show them")));
  }

  return { open };
})();
