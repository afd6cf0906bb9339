"use strict";

// What a role was told to the letter, and what it said.
const Prompts = (() => {
  const { h } = Dom;

  function message(kind, text) {
    return h("section", { class: `message ${kind}` }, h("h5", {}, kind), text === undefined ? h("p", { class: "quiet" }, "(not recorded)") : Dom.long(text, { lines: 30, chars: 4000 }));
  }

  function exchange(step, texts) {
    return h("div", { class: "exchange" },
      step.prompt.map(([kind, place]) => message(kind, texts[place])),
      message("reply", texts[step.reply]));
  }

  function title(step) {
    return [h("b", { class: `role ${step.role}` }, step.role), ` ${step.prompt.length} messages · ${Format.count(step.input_tokens)} tokens in · ${Format.count(step.output_tokens)} tokens out · ${Format.seconds(step.seconds)}`];
  }

  // The exchanges of some roles in a turn, one disclosure each; several of one role are attempts.
  function draw(run, chosen, heading = "exact prompts") {
    const steps = run.trace.steps.filter((step) => step.role && chosen(step));
    if (!steps.length) return null;
    return h("div", { class: "prompts" }, h("h4", {}, heading), steps.map((step) =>
      Dom.disclosure(title(step), () => exchange(step, run.trace.texts), { class: "prompt" })));
  }

  return { draw };
})();
