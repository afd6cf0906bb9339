"use strict";

// Numbers as people read them; the same forms as in the reports and in the terminal.
const Format = (() => {
  const count = (value) => Math.round(value).toLocaleString("en");
  const percent = (share) => (Number.isFinite(share) ? `${(100 * share).toFixed(1)} %` : "–");
  const seconds = (value) => (value < 1 ? `${value.toFixed(2)} s` : value < 600 ? `${value.toFixed(1)} s` : `${(value / 60).toFixed(0)} min`);
  const many = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

  function figure(value) {
    if (value === null || value === undefined || !Number.isFinite(value)) return "–";
    if (Number.isInteger(value)) return value.toLocaleString("en");
    const size = Math.abs(value);
    if (size !== 0 && (size < 0.001 || size >= 1e6)) return value.toExponential(2);
    return value.toPrecision(size < 1 ? 3 : 4).replace(/\.?0+$/, "");
  }

  // Seconds since 1970 as day and time of the reader's own clock, so that the order of letters is the order of time.
  function date(seconds) {
    if (!Number.isFinite(seconds)) return "";
    const at = new Date(1000 * seconds);
    const two = (value) => String(value).padStart(2, "0");
    return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${two(at.getHours())}:${two(at.getMinutes())}`;
  }

  const mean = (values) => (values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : NaN);

  // How often each value occurs, most frequent first.
  function counted(values) {
    const counts = new Map();
    for (const value of values) counts.set(value, (counts.get(value) || 0) + 1);
    return [...counts].map(([name, number]) => ({ name, number })).sort((a, b) => b.number - a.number || (a.name < b.name ? -1 : 1));
  }

  return { count, counted, date, figure, many, mean, percent, seconds };
})();
