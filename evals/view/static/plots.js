"use strict";

// Charts over numbers, drawn by uPlot in the page's own colours.
const Plots = (() => {
  const { h } = Dom;
  const HEIGHT = 160;
  const LOW = 150; // of a histogram, which has no legend
  const COLOURS = ["--c1", "--c2", "--c3", "--c4", "--c5", "--c6", "--c7", "--c8"];
  const alive = new Set();

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const tint = (name, share = 55) => `color-mix(in srgb, ${colour(name)} ${share}%, transparent)`;

  function axes(given) {
    const common = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1, size: 4 }, font: "11px system-ui, sans-serif" };
    const whole = (_, ticks) => ticks.map((tick) => (Number.isInteger(tick) ? String(tick) : ""));
    return [
      { ...common, size: 26, values: given.x || whole },
      { ...common, size: 56, values: (_, ticks) => ticks.map((tick) => Format.figure(tick)) },
    ];
  }

  // Keeps a chart as wide as its figure, for as long as the figure is in the page.
  function mount(figure, make) {
    let chart = null;
    const observer = new ResizeObserver(([entry]) => {
      const width = Math.floor(entry.contentRect.width);
      if (!figure.isConnected) {
        observer.disconnect();
        if (chart) chart.destroy();
        alive.delete(redraw);
      } else if (width > 0 && !chart) chart = make(width);
      else if (width > 0) chart.setSize({ width, height: chart.height });
    });
    const redraw = () => {
      if (!chart) return;
      chart.destroy();
      chart = make(Math.floor(figure.querySelector(".plot").getBoundingClientRect().width));
    };
    alive.add(redraw);
    observer.observe(figure.querySelector(".plot"));
    return figure;
  }

  // `about` says in a sentence what is drawn.
  function frame(title, described, about, bare) {
    return h("figure", { class: bare ? "chart bare" : "chart", "aria-label": described }, h("figcaption", {}, title), about && h("p", { class: "about" }, about), h("div", { class: "plot" }));
  }

  // series: [{name, values}] over the numbers `xs`; null leaves a gap. Stacked ones are shares that add up. Between two
  // that are an `edge`, an interval of the first one is filled: `band` has their numbers, from 1, the upper one first.
  function lines(title, xs, series, given = {}) {
    const last = series.map((each) => {
      const known = each.values.filter((value) => value !== null && value !== undefined);
      return `${each.name} ${Format.figure(known[known.length - 1])}`;
    }).join(", ");
    const figure = frame(title, `${title}; last: ${last}`, given.about);
    const totals = xs.map(() => 0);
    const drawn = series.map((each) => (given.stacked ? each.values.map((value, place) => (totals[place] += value || 0)) : each.values));
    return mount(figure, (width) => new uPlot({
      width, height: HEIGHT, padding: [8, 8, 0, 0],
      scales: { x: { time: false }, y: given.stacked ? { range: [0, 1] } : { range: range(given) } },
      cursor: { sync: { key: "steps" }, drag: { x: true, y: false }, points: { size: 6 }, focus: { prox: 24 } },
      axes: axes(given),
      legend: { live: true },
      hooks: { setCursor: [(chart) => {
        if (chart.cursor.idx === null) chart.setLegend({ idx: xs.length - 1 }, false);
      }], ready: [(chart) => {
        chart.setLegend({ idx: xs.length - 1 }, false);
        if (given.open) chart.over.addEventListener("dblclick", () => chart.cursor.idx !== null && given.open(xs[chart.cursor.idx]));
      }] },
      bands: given.stacked ? series.slice(1).map((_, place) => ({ series: [place + 2, place + 1] })) : given.band ? [{ series: given.band, fill: tint(COLOURS[0], 18) }] : [],
      series: [{ label: given.label || "update" }, ...series.map((each, place) => {
        const name = COLOURS[each.edge ? 0 : place % COLOURS.length];
        return {
          label: Dom.visible(each.name), stroke: each.edge ? tint(name, 40) : colour(name), width: each.edge ? 1 : 1.75, spanGaps: true,
          fill: given.stacked ? tint(name) : undefined,
          points: { show: xs.length < 40 && !each.edge, size: 4 },
          value: (_, value, __, index) => Format.figure(index === null ? value : each.values[index]),
        };
      })],
    }, [xs, ...drawn], figure.querySelector(".plot")));
  }

  function range(given) {
    return (_, low, high) => {
      if (low === null || high === null) return [0, 1];
      const bottom = given.zero === false ? low : Math.min(0, low);
      const room = (high - bottom || Math.abs(high) || 1) * 0.08;
      return [bottom < 0 ? bottom - room : bottom, high + room];
    };
  }

  // How often values fall into each of some equal steps.
  function histogram(title, values, about) {
    const top = values.reduce((most, value) => Math.max(most, value), 0);
    const whole = values.every(Number.isInteger) && top <= 40;
    const step = whole ? 1 : niceStep(top / 24);
    const bins = Math.max(1, Math.floor(top / step) + 1);
    const counts = new Array(bins).fill(0);
    for (const value of values) counts[Math.min(bins - 1, Math.floor(value / step))] += 1;
    const xs = counts.map((_, place) => place * step + (whole ? 0 : step / 2));
    const figure = frame(title, `${title}; mean ${Format.figure(Format.mean(values))} over ${values.length}`, about, true);
    return mount(figure, (width) => new uPlot({
      width, height: LOW, padding: [8, 8, 0, 0],
      scales: { x: { time: false, range: [(whole ? -0.5 : 0) * step, (bins - (whole ? 0.5 : 0)) * step] }, y: { range: (_, __, high) => [0, (high || 1) * 1.08] } },
      axes: axes({ x: (_, ticks) => ticks.map((tick) => (whole && !Number.isInteger(tick) ? "" : Format.figure(tick))) }),
      cursor: { drag: { x: false, y: false }, points: { show: false } },
      legend: { show: false },
      series: [{}, {
        label: "runs", stroke: colour("--c1"), fill: tint("--c1"), width: 1, points: { show: false },
        paths: uPlot.paths.bars({ size: [0.86, 60] }),
      }],
    }, [xs, counts], figure.querySelector(".plot")));
  }

  function niceStep(rough) {
    if (!(rough > 0)) return 1;
    const power = 10 ** Math.floor(Math.log10(rough));
    return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough);
  }

  return { histogram, lines, redraw: () => alive.forEach((each) => each()) };
})();
