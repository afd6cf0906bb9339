"use strict";

// When each role worked: a lane for each, a segment for each call. Without a trace only the totals are known.
const Timeline = (() => {
  const { h } = Dom;

  const laneOf = (step) => step.role || "tool";
  const said = (step) => {
    const where = step.turn ? `, turn ${step.turn}` : "";
    if (step.tool) return `tool ${step.tool}${where}: ${Format.seconds(step.seconds)}`;
    return `${step.role}${where}: ${Format.seconds(step.seconds)}, ${Format.count(step.input_tokens)} tokens in, ${Format.count(step.output_tokens)} tokens out`;
  };

  function lane(name, steps, end, goTo) {
    const tokens = steps.reduce((sum, step) => sum + (step.input_tokens || 0) + (step.output_tokens || 0), 0);
    const seconds = steps.reduce((sum, step) => sum + step.seconds, 0);
    return h("li", { class: `lane ${name}` },
      h("span", { class: "name" }, name),
      h("span", { class: "track" }, steps.map((step) => h("button", {
        type: "button", class: "segment", "data-tip": said(step), "aria-label": said(step),
        vars: { "--from": step.started / end, "--share": step.seconds / end },
        on: { click: () => goTo(step) },
      }))),
      h("span", { class: "number" }, Format.seconds(seconds), tokens > 0 && h("small", {}, ` ${Format.count(tokens)} tokens`)));
  }

  function ticks(end) {
    return h("li", { class: "ticks", "aria-hidden": "true" }, [0, 0.25, 0.5, 0.75, 1].map((share) =>
      h("span", { vars: { "--from": share } }, Format.seconds(share * end))));
  }

  // goTo(step) leads to what a segment stands for.
  function draw(run, goTo) {
    const steps = run.trace.steps;
    if (!steps.length) return totals(run);
    const end = Math.max(...steps.map((step) => step.started + step.seconds), 0.001);
    const lanes = [...Data.words.roles.slice(0, 3), "tool", ...Data.words.roles.slice(3)];
    const known = lanes.filter((name) => steps.some((step) => laneOf(step) === name));
    const others = [...new Set(steps.map(laneOf))].filter((name) => !lanes.includes(name));
    return h("ol", { class: "timeline", "aria-label": "time line" },
      [...known, ...others].map((name) => lane(name, steps.filter((step) => laneOf(step) === name), end, goTo)), ticks(end));
  }

  function totals(run) {
    const costs = run.usage.rows.map(([role, , tokensIn, tokensOut, seconds]) => ({ role, turn: 0, started: 0, seconds, input_tokens: tokensIn, output_tokens: tokensOut }));
    const end = Math.max(...costs.map((cost) => cost.seconds), 0.001);
    if (!costs.length) return null;
    return h("div", {},
      h("ol", { class: "timeline", "aria-label": "seconds by role" }, costs.map((cost) => lane(cost.role, [cost], end, () => {}))),
      h("p", { class: "quiet" }, "Totals: this run was recorded without the times of its calls."));
  }

  return { draw };
})();
