"use strict";

// What a training run has learned, at a glance: held-out questions over the updates, the same question's run before and
// after, and when each question of several steps was first solved.
const Learning = (() => {
  const { h } = Dom;
  const Z95 = 1.959963984540054;
  const MOST = 200; // questions in a list

  const chosen = new Map(); // the question that the reader looks at, by set: a growing run is drawn anew

  const right = (row) => row.outcome === "right";
  const ascending = (numbers) => [...new Set(numbers)].sort((a, b) => a - b);

  // Wilson's 95 % interval, as in evals/reports/intervals.py.
  function wilson(rate, n) {
    const centre = rate + Z95 * Z95 / (2 * n);
    const half = Z95 * Math.sqrt(rate * (1 - rate) / n + Z95 * Z95 / (4 * n * n));
    const scale = 1 + Z95 * Z95 / n;
    return [Math.max(0, (centre - half) / scale), Math.min(1, (centre + half) / scale)];
  }

  function byTask(rows) {
    const tasks = new Map();
    for (const row of rows) {
      if (!tasks.has(row.task)) tasks.set(row.task, []);
      tasks.get(row.task).push(row);
    }
    return tasks;
  }

  // The share of held-out questions that are right after so many updates; `many`: those of several steps alone.
  function curve(rows, open) {
    const updates = ascending(rows.map((row) => row.step));
    const share = (chosen) => updates.map((update) => {
      const own = chosen.filter((row) => row.step === update);
      return own.length ? own.filter(right).length / own.length : null;
    });
    const questions = updates.map((update) => byTask(rows.filter((row) => row.step === update)).size);
    const all = share(rows);
    const ends = all.map((rate, place) => wilson(rate, questions[place]));
    const many = rows.filter((row) => row.steps > 1);
    const series = [{ name: "held out", values: all }, { name: "95 % from", edge: true, values: ends.map(([low]) => low) }, { name: "to", edge: true, values: ends.map(([, high]) => high) }];
    if (many.length && many.length < rows.length) series.push({ name: "several steps", values: share(many) }, { name: "one step", values: share(rows.filter((row) => row.steps === 1)) });
    return Plots.lines("held-out questions right", updates, series.filter(({ values }) => values.some((value) => value !== null)), { open, band: [3, 2], about: `${Format.many(questions[0], "question")} after so many updates, with the 95 % interval over questions; failed runs count as wrong.` });
  }

  // For each question of several steps: in which step of the run it was first solved, and after how many rollouts.
  function firstSolved(rows) {
    return [...byTask(rows.filter((row) => row.steps > 1))].map(([task, own]) => {
      const order = [...own].sort((a, b) => a.step - b.step || a.sample - b.sample);
      const place = order.findIndex(right);
      const last = order.filter((row) => row.step === order[order.length - 1].step);
      return { task, first: place < 0 ? null : order[place], before: place < 0 ? order.length : place, question: order[0].question, last: last.filter(right).length / last.length };
    }).sort((a, b) => (a.first ? a.first.step : Infinity) - (b.first ? b.first.step : Infinity) || a.before - b.before || a.task.localeCompare(b.task, "en", { numeric: true }));
  }

  function solvedCurve(set, found) {
    const { rows } = set;
    const steps = ascending(rows.map((row) => row.step));
    const xs = steps.map((step) => Data.stepNumber(set, step));
    const open = (x) => Route.go("set", { set: set.number, step: steps[xs.indexOf(x)] });
    const met = steps.map((step) => new Set(rows.filter((row) => row.steps > 1 && row.step <= step).map((row) => row.task)).size);
    const solved = steps.map((step) => found.filter(({ first }) => first && first.step <= step).length);
    return Plots.lines("questions of several steps, solved at least once", xs, [{ name: "solved", values: solved }, { name: "asked", values: met }], { open, label: set.unit, about: "Questions whose task names more than one step, counted up to each step of the run." });
  }

  function solvedTable(set, found, name) {
    const never = found.filter(({ first }) => !first).length;
    return Dom.disclosure(`when each question of several steps was first solved ${name}: ${found.length - never} of ${found.length}`, () => [h("table", { class: "usage first-solved" },
      h("thead", {}, h("tr", {}, ["question", set.unit === "update" ? "first solved after update" : "first solved in step", "runs before", "right the last time"].map((title, place) => h("th", { scope: "col", class: place ? "number" : "" }, title)))),
      h("tbody", {}, found.slice(0, MOST).map(({ task, first, before, question, last }) => h("tr", { "data-task": task },
        h("th", { scope: "row" }, h("bdi", {}, question.slice(0, 120))),
        h("td", { class: "number" }, first ? h("a", { href: Route.run(first) }, String(Data.stepNumber(set, first.step))) : "never"),
        h("td", { class: "number" }, String(before)), h("td", { class: "number" }, Format.percent(last)))))),
    found.length > MOST && h("p", { class: "quiet" }, `… the first ${MOST}`)]);
  }

  // One held-out question before and after the training, its runs side by side; those that were learned come first.
  function beforeAndAfter(set, rows, settings) {
    const updates = ascending(rows.map((row) => row.step));
    const [i, j] = [updates[0], updates[updates.length - 1]];
    if (i === j) return null;
    const share = (own, step) => Format.mean(own.filter((row) => row.step === step).map((row) => Number(right(row))));
    const questions = [...byTask(rows)].map(([task, own]) => ({ task, own, change: share(own, j) - share(own, i), many: own[0].steps > 1 }))
      .filter(({ change }) => Number.isFinite(change))
      .sort((a, b) => Number(b.change > 0) - Number(a.change > 0) || Number(b.many) - Number(a.many) || b.change - a.change);
    if (!questions.length) return null;
    const counts = [questions.filter(({ change }) => change > 0).length, questions.filter(({ change }) => change < 0).length];
    const sides = h("div", { class: "sides" });
    const show = (task) => {
      chosen.set(set.number, task);
      const { own } = questions.find((each) => each.task === task);
      Dom.fill(sides, [i, j].map((step) => Group.side(step ? `after update ${step}` : "before training", own.filter((row) => row.step === step), settings)));
    };
    const known = questions.slice(0, MOST);
    const now = known.some(({ task }) => task === chosen.get(set.number)) ? chosen.get(set.number) : known[0].task;
    show(now);
    const word = ({ change }) => (change > 0 ? "learned" : change < 0 ? "lost" : "same");
    return h("section", { class: "before-after" }, h("h3", {}, "the same question before and after"),
      h("p", { class: "quiet" }, `${Format.count(counts[0])} learned, ${Format.count(counts[1])} lost, of ${Format.many(questions.length, "held-out question")}; `, h("a", { href: Route.link("compare", { a: `${set.number}@${i}`, b: `${set.number}@${j}` }) }, "all of them, compared")),
      h("form", { class: "filters", on: { submit: (event) => event.preventDefault() } }, h("label", {}, "question", h("select", { "data-choice": "held-out", on: { change: (event) => show(event.target.value) } },
        known.map((each) => h("option", { value: each.task, selected: each.task === now }, `${word(each)}: ${each.own[0].question.slice(0, 100)}`))))),
      sides);
  }

  // The section of a training run; null where nothing is known.
  function draw(set, settings) {
    const held = set.heldOut === null || set.heldOut === undefined ? null : Data.sets[set.heldOut];
    const rows = held ? held.rows : [];
    const training = firstSolved(set.rows);
    const after = firstSolved(rows);
    if (!rows.length && !training.length) return null;
    const open = (step) => Route.go("set", { set: held.number, step });
    return h("section", { class: "learning", "aria-label": "what was learned" }, h("h3", {}, "what was learned"),
      h("div", { class: "charts wide" }, rows.length > 0 && curve(rows, open), training.length > 0 && solvedCurve(set, training)),
      rows.length > 0 && beforeAndAfter(held, rows, settings),
      training.length > 0 && solvedTable(set, training, "in training"), after.length > 0 && solvedTable(held, after, "held out"));
  }

  return { draw, wilson };
})();
