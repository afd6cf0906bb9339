"use strict";

// Where the reader is: `#/view?name=value`, so that every place has an address to keep and to send.
const Route = (() => {
  function current() {
    const [view, query] = location.hash.replace(/^#\/?/, "").split("?");
    return { view: view || "", query: Object.fromEntries(new URLSearchParams(query || "")) };
  }

  function link(view, query = {}) {
    const kept = Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined);
    const text = new URLSearchParams(kept).toString();
    return `#/${view}${text ? `?${text}` : ""}`;
  }

  const go = (view, query) => { location.hash = link(view, query); };

  // Change the address of the place without leaving it.
  function note(view, query) {
    try {
      history.replaceState(null, "", link(view, query));
    } catch (error) {
      // Some browsers refuse this for files: the page works, its address only does not follow.
    }
  }

  const run = (row) => link("run", { set: row.set, run: row.key });

  return { current, go, link, note, run };
})();
