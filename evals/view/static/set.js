"use strict";

// A set of runs: its figures, charts over what is chosen, and the table of runs.
const SetView = (() => {
  const { h } = Dom;
  const order = { rows: [], set: -1 }; // the rows as last listed: what "next" and "previous" of a run mean

  const SORT = ["sort", "down"];
  const TOOLS = "What the planner chose: “unknown” where no tool bears the name, “none” where it gave no name.";

  function columns(set) {
    const training = set.kind === "training";
    const tools = (row) => Format.counted(row.tools).map(({ name, number }) => (number > 1 ? `${name} ×${number}` : name)).join(", ");
    const tokens = (row) => row.tokens_in + row.tokens_out;
    return [
      { name: "outcome", title: training ? "reward" : "outcome", width: "5.6rem", class: "c-outcome", sort: (row) => (training ? row.reward : row.outcome), numeric: training,
        cell: (row) => [h("span", { class: `mark ${row.outcome}` }, row.outcome || "run"), training && row.reward !== null && h("small", {}, Format.figure(row.reward))] },
      training && { name: "step", title: set.unit, width: "3.4rem", class: "number", sort: (row) => row.step, numeric: true, cell: (row) => String(Data.stepNumber(set, row.step)) },
      { name: "task", title: set.kind === "run" ? "file" : "task", width: "minmax(4rem, 9rem)", class: "c-task", sort: (row) => row.task || row.key, cell: (row) => (set.kind === "run" ? row.key : `${row.task}${row.sample ? ` · ${row.sample}` : ""}`) },
      { name: "question", title: "question", width: "minmax(8rem, 3fr)", class: "c-question", sort: (row) => row.question, cell: (row) => h("bdi", {}, row.question.replace(/\s+/g, " ")) },
      { name: "answer", title: "answer", width: "minmax(5rem, 1.2fr)", class: "c-answer", sort: (row) => row.answer, cell: (row) => h("bdi", {}, row.answer.replace(/\s+/g, " ")) },
      { name: "tools", title: "tools", width: "minmax(5rem, 1.2fr)", class: "c-tools", sort: tools, cell: tools },
      { name: "turns", title: "turns", width: "4rem", class: "number c-turns", sort: (row) => row.turns, numeric: true,
        cell: (row) => [String(row.turns), row.rejected > 0 && h("small", { class: "bad", "data-tip": `${row.rejected} rejected` }, ` −${row.rejected}`)] },
      { name: "errors", title: "errors", width: "minmax(4rem, 8rem)", class: "c-errors", sort: (row) => row.errors.join(), cell: (row) => row.errors.join(", ") },
      { name: "tokens", title: "tokens", width: "4.6rem", class: "number", sort: tokens, numeric: true, cell: (row) => Format.count(tokens(row)) },
      { name: "seconds", title: "seconds", width: "4.6rem", class: "number", sort: (row) => row.seconds, numeric: true, cell: (row) => row.seconds.toFixed(1) },
    ].filter(Boolean);
  }

  function stat(name, value) {
    return h("div", { class: "stat" }, h("dt", {}, name), h("dd", {}, value));
  }

  // Whether somebody has judged the turns: nobody does in another graph than ours.
  const judged = (rows) => rows.some((row) => row.rejected !== null);

  function stats(rows, all) {
    const scored = rows.filter((row) => row.outcome && row.outcome !== "running");
    const right = scored.filter((row) => row.outcome === "right").length;
    const rewards = rows.map((row) => row.reward).filter((reward) => reward !== null);
    const turns = rows.reduce((sum, row) => sum + row.turns, 0);
    return h("dl", { class: "stats" },
      stat("runs", rows.length === all ? Format.count(all) : `${Format.count(rows.length)} of ${Format.count(all)}`),
      scored.length > 0 && stat("right", `${Format.percent(right / scored.length)}`),
      rewards.length > 0 && stat("reward", Format.figure(Format.mean(rewards))),
      scored.some((row) => row.outcome === "failed") && stat("failed", Format.count(scored.filter((row) => row.outcome === "failed").length)),
      rows.length > 0 && [
        stat("turns a run", (turns / rows.length).toFixed(2)),
        judged(rows) && stat("rejected turns", Format.percent(rows.reduce((sum, row) => sum + row.rejected, 0) / Math.max(1, turns))),
        stat("tokens a run", Format.count(Format.mean(rows.map((row) => row.tokens_in + row.tokens_out)))),
        stat("seconds a run", Format.mean(rows.map((row) => row.seconds)).toFixed(1)),
      ]);
  }

  function costs(rows, place) {
    const totals = new Map();
    for (const row of rows) for (const [role, cost] of Object.entries(row.usage)) totals.set(role, (totals.get(role) || 0) + (place === "tokens" ? cost[1] + cost[2] : cost[3]));
    return [...totals].map(([name, number]) => ({ name, number: number / Math.max(1, rows.length) })).sort((a, b) => b.number - a.number);
  }

  function charts(rows) {
    return h("div", { class: "charts" },
      Plots.histogram("turns a run", rows.map((row) => row.turns), "How many steps a run took before its answer."),
      Plots.histogram("tokens a run", rows.map((row) => row.tokens_in + row.tokens_out), "Prompts and replies of all roles together."),
      Bars.draw("tools, by turn", Format.counted(rows.flatMap((row) => row.tools)), { about: TOOLS }),
      Bars.draw("errors, by run", Format.counted(rows.flatMap((row) => row.errors)), { tone: "warm", about: "Runs in which an error of this kind occurred." }),
      Bars.draw("tokens a run, by role", costs(rows, "tokens"), { about: "Prompts and replies, on average over the runs shown." }),
      Bars.draw("seconds a run, by role", costs(rows, "seconds"), { format: Format.seconds, about: "Time in model calls, on average over the runs shown." }),
      Bars.draw("ended by", Format.counted(rows.map((row) => row.ended_by).filter(Boolean)), { about: "Who or what ended the runs: the verifier's stop, or a limit." }));
  }

  function settings(facts) {
    const known = Object.entries(facts.settings || {}).filter(([, value]) => value !== null && value !== "" && !(Array.isArray(value) && !value.length));
    if (!known.length) return null;
    return Dom.disclosure("settings", () => h("dl", {}, known.map(([name, value]) => [h("dt", {}, name), h("dd", {}, typeof value === "string" ? value : JSON.stringify(value))])), { class: "settings" });
  }

  // The view of a set; `query` says what is chosen.
  function open(number, query) {
    const set = Data.sets[number];
    let now = { ...query };
    const box = h("div", { class: "set" });
    const above = h("div", {});
    const chartBox = h("div", {});
    const bar = h("div", {});
    const info = h("div", {});
    let shownCharts = "";
    let turn = 0;

    const table = Table.make(columns(set), {
      label: `runs of ${set.name}`, sort: now.sort || "", down: now.down === "1",
      link: Route.run, open: (row) => { location.hash = Route.run(row); },
      sorted: (name, down) => { now = { ...now, sort: name, down: down ? "1" : "" }; note(); remember(); },
    });

    const note = () => Route.note("set", { ...now, set: number });
    const remember = () => { [order.rows, order.set] = [table.rows(), number]; };

    async function apply() {
      const mine = turn += 1;
      const found = now.q ? await Data.search(number, now.q) : null;
      if (mine !== turn) return;
      const rows = set.rows.filter((row) => (!found || found.has(row.number)) && Filters.fits(row, now));
      Dom.fill(above, stats(rows, set.rows.length));
      table.show(rows);
      remember();
      const print = `${rows.length} ${JSON.stringify(now)}`;
      if (chartsOpen() && print !== shownCharts) {
        shownCharts = print;
        Dom.fill(chartBox, charts(rows));
      }
    }

    function changed(part) {
      if (part === null) now = Object.fromEntries(SORT.filter((name) => now[name]).map((name) => [name, now[name]]));
      else now = Object.fromEntries(Object.entries({ ...now, ...part }).filter(([, value]) => value !== ""));
      note();
      if (part === null || "task" in part) drawFilters();
      apply();
    }

    const drawFilters = () => Dom.fill(bar, Filters.draw(set, now, changed));
    const fold = h("details", { class: "chart-fold", open: matchMedia("(min-width: 60rem)").matches, on: { toggle: () => { shownCharts = ""; apply(); } } }, h("summary", {}, "charts"), chartBox);
    const chartsOpen = () => fold.open;
    Dom.add(box, [problems(set), above, bar, info, fold, table.element]);
    drawFilters();
    Data.facts(number).then((facts) => Dom.fill(info, settings(facts)));
    return {
      element: box,
      ready: apply,
      update() {
        const active = document.activeElement;
        if (!bar.contains(active)) drawFilters();
        apply();
      },
    };
  }

  function problems(set) {
    if (!set.unread && !set.problems.length) return null;
    return h("div", { class: "notice bad" }, set.problems.map((problem) => h("p", {}, problem)),
      set.unread > set.problems.length && h("p", {}, `… ${Format.count(set.unread)} lines in all cannot be read and are left out`));
  }

  // The run before or after one in the list that was last shown, or in file order.
  function neighbour(row, step) {
    const rows = order.set === row.set && order.rows.includes(row) ? order.rows : Data.sets[row.set].rows;
    return rows[rows.indexOf(row) + step] || null;
  }

  return { TOOLS, judged, neighbour, open, settings, stat };
})();
