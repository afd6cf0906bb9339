"use strict";

// Shares of a whole as horizontal bars: plain elements, so that they can be read aloud and copied.
const Bars = (() => {
  const { h } = Dom;
  const MOST = 12;

  // entries: [{name, number, other?}], the largest first; `other` is the second set's number beside the first's.
  function draw(title, entries, given = {}) {
    const show = given.format || Format.count;
    const shown = entries.slice(0, MOST);
    const top = Math.max(...entries.flatMap((entry) => [entry.number, entry.other || 0]), 0) || 1;
    const bar = (number, which) => [
      h("span", { class: "track" }, h("span", { class: `bar ${which}`, vars: { "--share": number / top } })),
      h("span", { class: "number" }, show(number)),
    ];
    const rows = shown.map((entry) => h("li", { class: "other" in entry ? "pair" : "" },
      h("bdi", { class: "name" }, entry.name),
      bar(entry.number, given.tone || "first"),
      "other" in entry && bar(entry.other, "second")));
    const left = entries.length - shown.length;
    return h("figure", { class: "bars" }, h("figcaption", {}, title), given.about && h("p", { class: "about" }, given.about),
      rows.length ? h("ul", {}, rows) : h("p", { class: "quiet" }, "none"),
      left > 0 && h("p", { class: "quiet" }, `… and ${left} more`));
  }

  return { draw };
})();
