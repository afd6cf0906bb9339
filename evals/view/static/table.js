"use strict";

// A table of any number of rows that stays quick: only the rows in sight exist. Rows are links, so that a row can be
// opened in a tab of its own; the arrow keys move through them.
const Table = (() => {
  const { h } = Dom;
  const SPARE = 8; // rows drawn above and below what is in sight

  // columns: [{name, title, cell(row), sort(row), class}]; given.open(row) opens one, given.sorted(name, down) is told.
  function make(columns, given) {
    let rows = [];
    let at = -1;
    let sortName = given.sort || "";
    let down = given.down || false;
    const body = h("div", { class: "body", role: "rowgroup", tabindex: "0", "aria-label": given.label });
    const head = h("div", { class: "head", role: "row" }, columns.map((column) => h("span", { role: "columnheader", class: column.class, "data-column": column.name },
      h("button", { type: "button", on: { click: () => sortBy(column.name) } }, column.title))));
    const box = h("div", { class: "table", role: "table", vars: { "--columns": columns.map((column) => column.width).join(" ") } }, h("div", { role: "rowgroup", class: "heads" }, head), body);

    const height = () => (matchMedia("(max-width: 46rem)").matches ? 60 : 34);

    function drawn(row, place) {
      return h("a", {
        role: "row", class: place === at ? "row at" : "row", href: given.link(row), tabindex: "-1", id: `row-${place}`,
        "aria-rowindex": place + 2, "data-key": row.key, vars: { top: `${place * height()}px` },
      }, columns.map((column) => h("span", { role: "cell", class: column.class }, column.cell(row))));
    }

    function draw() {
      const tall = height();
      body.style.setProperty("height", `${Math.max(1, rows.length) * tall}px`);
      const top = -body.getBoundingClientRect().top;
      const first = Math.max(0, Math.floor(top / tall) - SPARE);
      const last = Math.min(rows.length, Math.ceil((top + innerHeight) / tall) + SPARE);
      body.replaceChildren(...rows.slice(first, Math.max(first, last)).map((row, place) => drawn(row, first + place)));
      if (!rows.length) body.append(h("p", { class: "quiet empty" }, "No run fits."));
      box.setAttribute("aria-rowcount", rows.length + 1);
    }

    let asked = false;
    function soon() {
      if (!box.isConnected) {
        removeEventListener("scroll", soon);
        removeEventListener("resize", soon);
        return;
      }
      if (asked) return;
      asked = true;
      requestAnimationFrame(() => {
        asked = false;
        if (box.isConnected) draw();
      });
    }

    function sortBy(name) {
      down = name === sortName ? !down : Boolean(columns.find((column) => column.name === name).numeric);
      sortName = name;
      sort();
      at = -1;
      draw();
      given.sorted(sortName, down);
    }

    function sort() {
      const column = columns.find((each) => each.name === sortName);
      head.querySelectorAll("[role=columnheader]").forEach((cell) => cell.setAttribute("aria-sort", cell.dataset.column !== sortName || !column ? "none" : down ? "descending" : "ascending"));
      if (!column) return;
      const value = column.sort;
      const sign = down ? -1 : 1;
      const missing = (known) => known === null || known === undefined || Number.isNaN(known);
      rows = [...rows].sort((one, other) => {
        const [a, b] = [value(one), value(other)];
        if (missing(a) || missing(b)) return missing(a) - missing(b);
        const order = typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b;
        return sign * order || one.number - other.number;
      });
    }

    function move(place) {
      if (!rows.length) return;
      at = Math.max(0, Math.min(rows.length - 1, place));
      const tall = height();
      const top = body.getBoundingClientRect().top + at * tall;
      const bar = box.querySelector(".heads").getBoundingClientRect().bottom;
      if (top < bar) scrollBy(0, top - bar);
      else if (top + tall > innerHeight - 8) scrollBy(0, top + tall - innerHeight + 8);
      draw();
      body.setAttribute("aria-activedescendant", `row-${at}`);
    }

    body.addEventListener("keydown", (event) => {
      const page = Math.max(1, Math.floor(innerHeight / height()) - 4);
      const moves = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: rows.length - 1 };
      if (event.key in moves) {
        event.preventDefault();
        move(moves[event.key]);
      } else if (event.key === "Enter" && at >= 0) given.open(rows[at]);
    });
    body.addEventListener("focus", () => at < 0 && body.matches(":focus-visible") && move(0));
    addEventListener("scroll", soon, { passive: true });
    addEventListener("resize", soon);

    return {
      element: box,
      focus: () => body.focus(),
      rows: () => rows,
      show(next) {
        rows = next;
        sort();
        at = Math.min(at, rows.length - 1);
        draw();
      },
    };
  }

  return { make };
})();
