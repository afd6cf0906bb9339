"use strict";

// One task's rollouts at one step beside those at another: what was learned.
const Group = (() => {
  const { h } = Dom;

  // Tasks with their steps, those that occur most often first.
  function tasks(set) {
    const known = new Map();
    for (const members of Data.groups(set.number).values()) {
      const { task, step } = members[0];
      if (!known.has(task)) known.set(task, new Map());
      known.get(task).set(step, [...members].sort((a, b) => a.sample - b.sample));
    }
    return [...known].map(([task, steps]) => ({ task, steps })).sort((a, b) => b.steps.size - a.steps.size || a.task.localeCompare(b.task, "en", { numeric: true }));
  }

  function select(name, values, chosen, changed) {
    return h("label", {}, name, h("select", { "data-choice": name, on: { change: (event) => changed(event.target.value) } },
      values.map(({ value, title }) => h("option", { value: String(value), selected: String(value) === String(chosen) }, title))));
  }

  function summary(members) {
    const rewards = members.map((row) => row.reward).filter((reward) => reward !== null);
    const right = members.filter((row) => row.outcome === "right").length;
    return h("dl", { class: "stats" }, SetView.stat("reward", rewards.length ? Format.figure(Format.mean(rewards)) : "–"), SetView.stat("right", `${right} of ${members.length}`),
      SetView.stat("turns", Format.figure(Format.mean(members.map((row) => row.turns)))),
      SetView.judged(members) && SetView.stat("rejected", Format.figure(Format.mean(members.map((row) => row.rejected)))));
  }

  // The turns of a rollout, one line each, as the terminal words them; those of another graph are replies of its roles.
  function story(detail) {
    if (detail === null) return h("p", { class: "quiet" }, "(its file has changed)");
    return h("ol", { class: "story" }, detail.turns.map((turn) => h("li", { class: turn.role ? "" : turn.accepted ? "accepted" : "rejected" },
      turn.role && h("b", {}, `${turn.role}: `), h("bdi", {}, turn.planned.slice(0, 300)), !turn.role && h("span", { class: turn.accepted ? "small good" : "small bad" }, h("bdi", {}, ` ${turn.judged.slice(0, 200)}`)))));
  }

  function rollout(row, settings) {
    const place = h("div", { class: "quiet" }, "…");
    Data.run(row).then((detail) => place.replaceWith(story(detail)));
    return h("article", { class: `rollout ${row.outcome}` },
      h("header", {}, Run.mark(row.outcome), h("a", { href: Route.run(row) }, `rollout ${row.sample}`),
        h("span", { class: "quiet" }, `reward ${Format.figure(row.reward)}`),
        Data.advantages(row, settings).map(({ name, value }) => h("span", { class: `advantage ${value < 0 ? "bad" : value > 0 ? "good" : ""}`, "data-advantage": value.toFixed(6), "data-key": row.key }, `advantage ${name && `of ${name} `}${value.toFixed(2)}`))),
      place, h("p", { class: "final" }, h("span", { class: "quiet" }, "answer "), h("bdi", {}, row.answer || "(no answer)")));
  }

  function side(title, members, settings) {
    return h("section", { class: "side" }, h("h3", {}, title), members.length > 1 && [summary(members),
      Bars.draw("tools, by turn", Format.counted(members.flatMap((row) => row.tools)), { about: SetView.TOOLS })], members.map((row) => rollout(row, settings)));
  }

  function open(number, query) {
    const set = Data.sets[number];
    const box = h("div", { class: "group" });

    async function ready() {
      const known = tasks(set);
      if (!known.length) {
        Dom.fill(box, h("p", { class: "quiet" }, "No rollout is there yet."));
        return;
      }
      const chosen = known.find(({ task }) => task === query.task) || known[0];
      const steps = [...chosen.steps.keys()].sort((a, b) => a - b);
      const at = (name, otherwise) => (steps.includes(Number(query[name])) && query[name] !== undefined ? Number(query[name]) : otherwise);
      const [i, j] = [at("i", steps[0]), at("j", steps[steps.length - 1])];
      const facts = await Data.facts(number);
      const go = (part) => Route.go("group", { set: number, task: chosen.task, i, j, ...part });
      const stepOptions = steps.map((step) => ({ value: step, title: Data.stepName(set, step) }));
      const first = chosen.steps.get(i);
      Dom.fill(box,
        h("form", { class: "filters", on: { submit: (event) => event.preventDefault() } },
          select("task", known.map(({ task, steps: its }) => ({ value: task, title: `${task.slice(0, 60)} (${Format.many(its.size, "step")})` })), chosen.task, (task) => Route.go("group", { set: number, task })),
          select("step i", stepOptions, i, (value) => go({ i: value })), select("step j", stepOptions, j, (value) => go({ j: value }))),
        h("h2", {}, Dom.long(first[0].question, { lines: 6, chars: 500 })),
        steps.length < 2 && h("p", { class: "quiet" }, "This task was rolled out in one step only so far."),
        h("div", { class: i === j ? "sides one" : "sides" }, side(Data.stepName(set, i), first, facts.settings), i !== j && side(Data.stepName(set, j), chosen.steps.get(j), facts.settings)));
    }
    return { element: box, ready, update: () => {} };
  }

  return { open, side };
})();
