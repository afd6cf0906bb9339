"use strict";

// One run: the question, the analysis, a card for each turn, the answer and what it is worth.
const Run = (() => {
  const { h } = Dom;

  const mark = (outcome) => (outcome ? h("span", { class: `mark ${outcome}` }, outcome) : null);

  // A line as the terminal prints it: who did it, what, how long it took.
  function line(who, content, given = {}) {
    return h("div", { class: `line ${given.class || ""}` },
      h("span", { class: `who ${who}` }, who), h("div", { class: "what" }, content), h("span", { class: "took" }, given.took || ""));
  }

  function took(run, turn, role) {
    const steps = run.trace.steps.filter((step) => step.turn === turn && step.role === role);
    if (!steps.length) return "";
    return Format.seconds(steps.reduce((sum, step) => sum + step.seconds, 0));
  }

  function small(name, text) {
    return text ? h("p", { class: "small" }, h("span", { class: "quiet" }, `${name}: `), h("bdi", {}, clipped(text))) : null;
  }

  const clipped = (text) => (text.length > 2000 ? `${text.slice(0, 2000)} … (${Format.count(text.length - 2000)} more characters, see the reply)` : text);

  function call(made, written, turn) {
    const failed = made.error !== null;
    const result = failed ? [h("span", { class: "kind" }, made.error.kind), Dom.long(made.error.message, { class: "bad" })] : Dom.long(made.result || "(nothing)", { class: "result" });
    const asked = turn.role ? line("tool", [h("bdi", { class: "tool" }, made.tool), Dom.long(made.given, { class: "code" })]) : line("executor", Dom.long(made.given, { class: "code" }), { took: written });
    return [asked, line("", result, { took: Format.seconds(made.seconds) })];
  }

  // A call of the policy with its advantage.
  const drawn = (run, tokens) => Tokens.draw(tokens, run.row ? Data.advantage(run.row, run.settings, Data.turnName(run.row, run.drawn.indexOf(tokens), run.settings)) : null, run.captured);

  // A turn with a role is of another graph than ours: a reply that nobody planned or judged.
  const standing = (turn) => (turn.role ? "" : turn.accepted ? "accepted" : "rejected");

  // The calls that made the turns: in our graph, where the policy plays several roles, the planner's.
  const several = (run) => new Set(run.drawn.map((tokens) => tokens.role)).size > 1;
  const ofTurns = (run) => (several(run) && !run.foreign ? run.drawn.filter((tokens) => tokens.role === "planner") : run.drawn);

  // What a role of another graph said.
  function said(run, turn, number) {
    const tokens = ofTurns(run)[number - 1];
    return [
      line(turn.role, [Dom.long(turn.reply || "(nothing)"), small("thinking", turn.justification), turn.fault && h("p", { class: "bad" }, turn.fault)], { took: took(run, number, turn.role) }),
      tokens ? line("", drawn(run, tokens)) : null,
    ];
  }

  function planned(run, turn, number) {
    const tokens = ofTurns(run)[number - 1];
    return [
      line("planner", [
        h("p", { class: turn.plan_failed ? "bad" : "goal" }, h("bdi", {}, clipped(turn.planned))),
        small("justification", turn.justification), small("context", turn.context),
        turn.sub_goal && turn.input ? small("input", turn.input) : null,
      ], { took: took(run, number, "planner") }),
      tokens ? line("", drawn(run, tokens)) : null,
      turn.reply && line("", Dom.disclosure("reply", () => Dom.long(turn.reply))),
    ];
  }

  function judged(run, turn, number) {
    return line("verifier", [
      h("p", { class: turn.accepted ? "good" : "bad" }, h("bdi", {}, clipped(turn.judged || "no verdict"))),
      small("answer so far", turn.verdict_answer),
      h("p", { class: "small quiet" }, `by ${turn.verdict_by || "nobody"}`),
    ], { took: took(run, number, "verifier") });
  }

  function card(run, turn, number) {
    const steps = run.trace.steps.filter((step) => step.turn === number && (turn.role || step.role !== "generator"));
    const seconds = steps.reduce((sum, step) => sum + step.seconds, 0) || turn.calls.reduce((sum, made) => sum + made.seconds, 0);
    const tokens = steps.reduce((sum, step) => sum + (step.input_tokens || 0) + (step.output_tokens || 0), 0);
    return h("article", { class: `turn ${standing(turn)}`, id: `turn-${number}`, tabindex: "-1" },
      h("header", {},
        h("h3", {}, `turn ${number}`), h("bdi", { class: "tool" }, turn.role || turn.tool),
        !turn.role && h("span", { class: `mark ${standing(turn)}` }, standing(turn), turn.stop && ", stop"),
        turn.error && h("span", { class: "kind" }, turn.error.kind),
        h("span", { class: "took" }, seconds ? Format.seconds(seconds) : "", tokens ? ` · ${Format.count(tokens)} tokens` : "")),
      turn.role ? said(run, turn, number) : planned(run, turn, number),
      turn.calls.length ? turn.calls.map((made, place) => call(made, place ? "" : took(run, number, "executor"), turn)) : turn.error && !turn.plan_failed ? line("executor", h("p", { class: "bad" }, turn.error.message)) : null,
      !turn.role && judged(run, turn, number),
      !turn.role && turn.observation && line("", Dom.disclosure("what the planner was told", () => Dom.long(turn.observation))),
      Prompts.draw(run, (step) => step.turn === number && (turn.role || !["generator", "analyst"].includes(step.role))));
  }

  function answer(run) {
    const worth = [
      run.references && ["reference", h("bdi", {}, run.references.join(" | ") || "–")],
      run.outcome && ["verdict", [mark(run.outcome), run.reason && h("span", {}, ` ${clipped(run.reason)}`)]],
      run.value !== undefined && run.value !== null && ["partial score", Format.figure(run.value)],
      run.reward !== undefined && run.reward !== null && ["reward", [Format.figure(run.reward), terms(run.rewards)]],
      run.row && run.reward !== undefined && run.reward !== null && ["advantage", advantage(run)],
      run.failure && ["failure", h("span", { class: "bad" }, `${run.failure.kind}: ${run.failure.message}`)],
      run.judge && ["judge", `${run.judge.correct === null ? "no opinion" : run.judge.correct ? "right" : "wrong"}: ${run.judge.reason}`],
      run.leaks && run.leaks.length > 0 && ["leaks", run.leaks.join("; ")],
    ].filter(Boolean);
    return h("section", { class: "answer", id: "answer", tabindex: "-1" },
      line(run.foreign ? "" : "generator", [h("h3", {}, "answer"), Dom.long(run.answer || "(no answer)", { class: "final" })], { took: run.foreign ? "" : generatorTook(run) }),
      worth.length > 0 && h("dl", {}, worth.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
      run.report && [h("h3", {}, "report"), Dom.long(run.report, { lines: 40, chars: 6000 })],
      !run.foreign && Prompts.draw(run, (step) => step.role === "generator"));
  }

  function generatorTook(run) {
    const steps = run.trace.steps.filter((step) => step.role === "generator");
    return steps.length ? Format.seconds(steps.reduce((sum, step) => sum + step.seconds, 0)) : "";
  }

  const terms = (rewards) => {
    const parts = Object.entries(rewards || {}).map(([name, value]) => `${name} ${Format.figure(value)}`);
    return parts.length > 1 ? h("span", { class: "quiet" }, ` (${parts.join(", ")})`) : null;
  };

  function advantage(run) {
    const values = Data.advantages(run.row, run.settings);
    const size = Data.groupOf(run.row).length;
    if (!values.length) return "–";
    return [values.map(({ name, value }) => [name && `${name} `, h("span", { class: "advantage" }, value.toFixed(2)), " "]), h("span", { class: "quiet" }, ` among ${size} rollouts of this task in ${Data.stepName(Data.sets[run.row.set], run.step)} (${run.settings.estimator || "grpo"}) `),
      h("a", { href: Route.link("group", { set: run.row.set, task: run.task, i: run.step, j: run.step }) }, "show the group")];
  }

  function usage(run) {
    if (!run.usage.rows.length) return null;
    const [role, ...rest] = run.usage.columns;
    return h("table", { class: "usage" }, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, role), rest.map((name) => h("th", { scope: "col", class: "number" }, name)))),
      h("tbody", {}, run.usage.rows.map(([name, calls, tokensIn, tokensOut, seconds]) => h("tr", {}, h("th", { scope: "row" }, name),
        [calls, tokensIn, tokensOut].map((value) => h("td", { class: "number" }, Format.count(value))), h("td", { class: "number" }, seconds.toFixed(1))))));
  }

  function head(run) {
    const facts = [run.benchmark || (run.row && Data.sets[run.row.set].benchmark), run.task && `task ${run.task}`, run.row && Data.stepName(Data.sets[run.row.set], run.step),
      run.sample !== undefined && `${run.row ? "rollout" : "sample"} ${run.sample}`, run.seed !== undefined && run.seed !== null && `seed ${run.seed}`,
      run.attempts > 1 && `${run.attempts} attempts`].filter(Boolean);
    return h("header", { class: "question" },
      h("p", { class: "quiet" }, mark(run.outcome), " ", facts.join(" · ")),
      h("h2", {}, Dom.long(run.question || "(no question)", { lines: 8, chars: 700 })),
      run.analysis && h("div", { class: "analysis" }, h("h4", {}, "analysis"), Dom.long(run.analysis, { lines: 8, chars: 900 })),
      !run.foreign && Prompts.draw(run, (step) => step.role === "analyst"));
  }

  // detail: from Data.run; `row` and `settings` belong to training runs.
  function draw(detail, row, settings) {
    if (detail === null) return h("p", { class: "notice bad" }, "This run's file has changed since the page read it; the list will be read again.");
    const run = { ...detail, row: row && row.step !== null ? row : null, settings: settings || {}, foreign: detail.turns.some((turn) => turn.role) };
    const box = h("div", { class: "run" });
    const goTo = (step) => {
      const place = step.role === "generator" && !run.foreign ? "answer" : step.turn ? `turn-${step.turn}` : null;
      const target = place && box.querySelector(`[id="${place}"]`);
      if (!target) return;
      target.scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth", block: "start" });
      target.focus({ preventScroll: true });
    };
    const made = ofTurns(run).slice(0, run.turns.length);
    const spare = run.drawn.filter((tokens) => !made.includes(tokens));
    return Dom.add(box, [
      head(run),
      Timeline.draw(run, goTo),
      h("div", { class: "turns" }, run.turns.map((turn, place) => card(run, turn, place + 1))),
      spare.length > 0 && h("section", {}, h("h3", {}, made.length ? "further calls of the trained model" : "calls of the trained model"), spare.map((tokens) => drawn(run, tokens))),
      Prompts.draw(run, (step) => (run.foreign || step.role !== "generator") && step.turn > run.turns.length, "asked, but no turn came of it"),
      run.outcome === "running" ? h("p", { class: "notice" }, "The run goes on; this page follows it.") : answer(run),
      h("footer", {}, usage(run), h("p", { class: "quiet" }, run.ended)),
    ]);
  }

  return { draw, mark };
})();
