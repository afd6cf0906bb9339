"use strict";

// What the trained model drew, token by token, coloured by how likely each was or by what it was worth.
const Tokens = (() => {
  const { h } = Dom;
  const WORST = 5; // nats at which the colour is full
  const BEST = 2; // advantages at which it is

  let mode = "log-prob";

  function tip(drawn, place, advantage) {
    const logprob = drawn.logprobs[place];
    const chance = logprob === null || logprob === undefined ? "" : ` · log-prob ${logprob.toFixed(3)} (${Format.percent(Math.exp(logprob))})`;
    const worth = advantage === null ? "" : ` · advantage ${advantage.toFixed(2)}`;
    return `id ${drawn.ids[place]}${chance}${worth} · token ${place + 1} of ${drawn.ids.length}`;
  }

  const shade = (logprob) => Math.min(1, Math.max(0, -(logprob || 0)) / WORST);

  function strip(drawn, advantage) {
    const tokens = drawn.ids.map((id, place) => {
      const piece = drawn.pieces ? drawn.pieces[place] : null;
      return h("span", {
        class: piece === null ? "token id" : "token", "data-tip": tip(drawn, place, advantage),
        vars: { "--unlikely": shade(drawn.logprobs[place]), "--worth": Math.min(1, Math.abs(advantage || 0) / BEST) },
      }, piece === null ? String(id) : piece === "" ? "·" : piece);
    });
    const box = h("div", {
      class: `tokens ${(advantage || 0) < 0 ? "below" : "above"}`, "data-mode": mode, tabindex: "0", role: "group",
      "aria-label": `${drawn.ids.length} tokens of the policy; the arrow keys go through them`,
    }, tokens);
    let at = -1;
    box.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step || !tokens.length) return;
      event.preventDefault();
      if (at >= 0) tokens[at].classList.remove("at");
      at = Math.min(tokens.length - 1, Math.max(0, at + step));
      tokens[at].classList.add("at");
      Tip.show(tokens[at]);
    });
    box.addEventListener("blur", () => Tip.hide());
    return box;
  }

  function choice() {
    return h("span", { class: "choice", role: "group", "aria-label": "colour of the tokens" }, ["log-prob", "advantage", "none"].map((name) =>
      h("button", { type: "button", "aria-pressed": String(name === mode), on: { click: () => {
        mode = name;
        document.querySelectorAll(".tokens").forEach((box) => { box.dataset.mode = mode; });
        document.querySelectorAll(".choice button").forEach((button) => button.setAttribute("aria-pressed", String(button.textContent === mode)));
      } } }, name)));
  }

  function draw(drawn, advantage, captured) {
    const mean = Format.mean(drawn.logprobs.filter((value) => value !== null));
    const facts = [
      drawn.role, Format.many(drawn.ids.length, "token"), `mean log-prob ${Format.figure(mean)}`,
      advantage === null ? "no advantage known" : `advantage ${advantage.toFixed(2)}`,
      `policy version ${drawn.policy_version}`, `temperature ${Format.figure(drawn.temperature)}`,
      drawn.finish_reason === "length" ? "cut off" : null,
      captured === false ? "made from text, not sampled" : null,
    ].filter(Boolean).join(" · ");
    const prompt = drawn.prompt === null ? drawn.prompt_ids.join(" ") : drawn.prompt;
    return h("div", { class: "drawn" },
      h("p", { class: "quiet line" }, choice(), h("span", {}, facts)),
      strip(drawn, advantage),
      drawn.pieces === null && h("p", { class: "quiet" }, "Ids alone: the run's folder holds no tokenizer yet."),
      Dom.disclosure(`prompt, ${Format.many(drawn.prompt_ids.length, "token")}${drawn.prompt === null ? ", as ids" : ""}`, () => Dom.long(prompt, { lines: 40, chars: 6000 })));
  }

  return { draw };
})();

// One small label that follows what the pointer or the keyboard is at.
const Tip = (() => {
  const label = Dom.h("div", { class: "tip", role: "status", hidden: true });
  document.body.append(label);

  function show(element) {
    label.textContent = element.dataset.tip;
    label.hidden = false;
    const place = element.getBoundingClientRect();
    const left = Math.min(Math.max(4, place.left), document.documentElement.clientWidth - label.offsetWidth - 8);
    const above = place.top - label.offsetHeight - 6;
    label.style.setProperty("left", `${left}px`);
    label.style.setProperty("top", `${above > 4 ? above : place.bottom + 6}px`);
  }

  const hide = () => { label.hidden = true; };
  const over = (event) => {
    const element = event.target.closest ? event.target.closest("[data-tip]") : null;
    if (element) show(element);
    else hide();
  };
  document.addEventListener("mouseover", over);
  document.addEventListener("focusin", over);
  document.addEventListener("scroll", hide, { passive: true });
  return { hide, show };
})();
