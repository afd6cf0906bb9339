"use strict";

// Elements are made here and nowhere else. What models and tools wrote becomes text nodes; no markup is ever parsed, and
// links lead to places within this page only.
const Dom = (() => {
  const FOLD_LINES = 12; // as in the terminal
  const FOLD_CHARS = 1600;
  const MORE_CHARS = 100000;

  // Characters that a reader could not see, or that would turn the text around them: shown by name.
  const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u202a-\u202e\u2028\u2029\u2060-\u2069\ufeff]/g;

  function visible(text) {
    const whole = String(text).toWellFormed ? String(text).toWellFormed() : String(text);
    return whole.replace(/\r\n/g, "\n").replace(HIDDEN, (c) => `⟨${c.charCodeAt(0).toString(16).padStart(4, "0")}⟩`);
  }

  // h("p", {class: "quiet", on: {click: f}, vars: {"--share": 0.5}}, "text", child, [more], null)
  function h(tag, given, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(given || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (name === "on") for (const [event, work] of Object.entries(value)) element.addEventListener(event, work);
      else if (name === "vars") for (const [key, number] of Object.entries(value)) element.style.setProperty(key, number);
      else if (name === "value" || name === "checked" || name === "selected") element[name] = value;
      else if (name === "href" && !String(value).startsWith("#")) throw new Error("links stay within the page");
      else element.setAttribute(name, value === true ? "" : visible(value));
    }
    add(element, children);
    return element;
  }

  function add(element, children) {
    for (const child of children.flat(Infinity)) {
      if (child === null || child === undefined || child === false) continue;
      element.append(child instanceof Node ? child : visible(child));
    }
    return element;
  }

  function fill(element, ...children) {
    element.replaceChildren();
    return add(element, children);
  }

  // The end of a text's first lines, in characters.
  function foldAt(text, lines, chars) {
    let end = -1;
    for (let line = 0; line < lines; line += 1) {
      end = text.indexOf("\n", end + 1);
      if (end < 0 || end > chars) return Math.min(text.length, chars);
    }
    return Math.min(end, chars);
  }

  // A text as it is, folded when it is long; a giant one is shown piece by piece, so that no browser chokes on it.
  function long(text, given = {}) {
    const whole = String(text);
    const end = foldAt(whole, given.lines || FOLD_LINES, given.chars || FOLD_CHARS);
    const box = h("div", { class: `long ${given.class || ""}` }, h("pre", { dir: "auto" }, whole.slice(0, end)));
    if (end >= whole.length) return box;
    let shown = end;
    const left = () => {
      const lines = whole.length - shown < MORE_CHARS ? whole.slice(shown).split("\n").length - 1 : 0;
      const amount = lines > 1 ? `${lines.toLocaleString("en")} more lines` : `${(whole.length - shown).toLocaleString("en")} more characters`;
      return `… ${amount}`;
    };
    const button = h("button", { type: "button", class: "more", on: { click: () => {
      const next = Math.min(whole.length, shown + MORE_CHARS);
      box.querySelector("pre").append(visible(whole.slice(shown, next)));
      shown = next;
      if (shown >= whole.length) button.remove();
      else button.textContent = left();
    } } }, left());
    box.append(button);
    return box;
  }

  // A disclosure whose content is made when it is first opened.
  function disclosure(title, make, given = {}) {
    const box = h("details", { class: given.class, open: given.open }, h("summary", {}, title));
    const build = () => {
      if (box.open && box.children.length === 1) add(box, [make()]);
    };
    box.addEventListener("toggle", build);
    build();
    return box;
  }

  return { add, disclosure, fill, h, long, visible };
})();
