"use strict";

// The sets and their runs, from the server or from this file itself. A row is small and always here; a run's details are
// fetched when it is opened.
const Data = (() => {
  const embedded = document.getElementById("overview") !== null;
  const LIVE_MS = 1500;
  const sets = [];
  const listeners = new Set();
  let fields = [];
  let words = { roles: [], nodes: [] };

  async function unpacked(name) {
    const element = document.getElementById(name);
    if (!element) throw new Error(`The page holds no ${name}.`);
    const bytes = Uint8Array.from(atob(element.textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  async function asked(path, query = {}) {
    const text = new URLSearchParams(query).toString();
    const response = await fetch(`api/${path}${text ? `?${text}` : ""}`);
    if (!response.ok) throw new Error(response.status === 404 ? "gone" : `status ${response.status}`);
    return response.json();
  }

  function rowOf(values, set, number) {
    const row = { set: set.number, number };
    fields.forEach((name, place) => { row[name] = values[place]; });
    const costs = Object.values(row.usage);
    [row.calls, row.tokens_in, row.tokens_out] = [0, 1, 2].map((place) => costs.reduce((sum, cost) => sum + cost[place], 0));
    return row;
  }

  async function readRows(set, about) {
    const fresh = about.generation !== set.generation;
    const start = fresh ? 0 : set.rows.length;
    const found = embedded ? await unpacked(`rows-${set.number}`) : await asked("rows", { source: set.number, start });
    if (found.generation !== about.generation && start > 0) return readRows(set, { ...about, generation: found.generation });
    if (fresh) {
      set.rows = [];
      set.byKey = new Map();
    }
    found.rows.forEach((values) => {
      const row = rowOf(values, set, set.rows.length);
      set.rows.push(row);
      set.byKey.set(row.key, row);
    });
    set.generation = found.generation;
    set.groups = null;
    return undefined;
  }

  async function refresh() {
    const overview = embedded ? await unpacked("overview") : await asked("overview");
    fields = overview.fields;
    words = overview.words;
    let changed = false;
    for (const [number, about] of overview.sources.entries()) {
      const set = sets[number] || (sets[number] = { number, rows: [], byKey: new Map(), generation: -1, measured: -1 });
      const grew = about.generation !== set.generation || about.runs !== set.rows.length || about.measured !== set.measured;
      const { kind, name, path, unit, unread, problems, written, model, benchmark } = about;
      Object.assign(set, { kind, name, path, unit, unread, problems, written, model, benchmark, heldOut: about.held_out });
      if (!grew) continue;
      await readRows(set, about);
      set.measured = about.measured;
      set.facts = null;
      changed = true;
    }
    return changed;
  }

  function live() {
    let lost = false;
    setInterval(async () => {
      if (document.hidden) return;
      try {
        const changed = await refresh();
        if (lost || changed) listeners.forEach((listen) => listen(""));
        lost = false;
      } catch (error) {
        if (!lost) listeners.forEach((listen) => listen("The server has ended; what is shown is the last it told."));
        lost = true;
      }
    }, LIVE_MS);
  }

  async function load() {
    await refresh();
    if (!embedded) live();
  }

  // A run in full; `null` when its file has changed since.
  async function run(row) {
    const set = sets[row.set];
    if (!embedded) {
      try {
        return await asked("run", { source: row.set, run: row.number, generation: set.generation });
      } catch (error) {
        if (error.message === "gone") return null;
        throw error;
      }
    }
    set.starts = set.starts || await unpacked(`starts-${row.set}`);
    let block = set.starts.length - 1;
    while (set.starts[block] > row.number) block -= 1;
    if (set.block !== block) {
      set.unpacked = await unpacked(`runs-${row.set}-${block}`);
      set.block = block;
    }
    return set.unpacked[row.number - set.starts[block]];
  }

  async function facts(number) {
    const set = sets[number];
    set.facts = set.facts || (embedded ? await unpacked(`facts-${number}`) : await asked("facts", { source: number }));
    return set.facts;
  }

  // A query's words in small letters; those in double quotes stay together (as in evals/view/index.py).
  function wordsOf(query) {
    const parts = query.toLowerCase().split('"');
    const quoted = parts.filter((_, place) => place % 2).map((part) => part.trim()).filter(Boolean);
    return [...quoted, ...parts.filter((_, place) => place % 2 === 0).flatMap((part) => part.split(/\s+/).filter(Boolean))];
  }

  // Numbers of the set's runs that hold all words.
  async function search(number, query) {
    if (!wordsOf(query).length) return null;
    const set = sets[number];
    if (!embedded) return new Set((await asked("search", { source: number, query })).found);
    set.words = set.words || await unpacked(`words-${number}`);
    const wanted = wordsOf(query);
    return new Set(set.words.flatMap((text, run) => (wanted.every((word) => text.includes(word)) ? [run] : [])));
  }

  // What changes from one set to another, and the interval of `python -m evals compare`; null where nobody knows, since a
  // file holds some comparisons only.
  async function compare(a, b) {
    if (!embedded) return asked("compare", { a, b }).catch((error) => (error.message === "gone" ? null : Promise.reject(error)));
    const known = await unpacked("comparisons");
    const turned = known[`${b}|${a}`];
    if (known[`${a}|${b}`] || !turned) return known[`${a}|${b}`] || null;
    if (!turned.questions) return turned;
    const [low, high] = turned.interval;
    const tools = turned.tools.map(([name, one, other, from, to]) => [name, other, one, -to, -from]);
    return { questions: turned.questions, exact: [...turned.exact].reverse(), lenient: [...turned.lenient].reverse(), interval: [-high, -low], tools, unseen: [...turned.unseen].reverse() };
  }

  // A step as people count, from 1 (files count from 0); held-out runs have the number of updates before them instead.
  const stepNumber = (set, step) => (step === null ? "–" : set.unit === "update" ? step : step + 1);
  const stepName = (set, step) => `${set.unit} ${stepNumber(set, step)}`;

  // The rollouts of each task and step: what advantages are normalised over.
  function groups(number) {
    const set = sets[number];
    if (set.groups) return set.groups;
    set.groups = new Map();
    for (const row of set.rows) {
      if (row.step === null) continue;
      const name = `${row.step}/${row.task}`;
      if (!set.groups.has(name)) set.groups.set(name, []);
      set.groups.get(name).push(row);
    }
    return set.groups;
  }

  const groupOf = (row) => groups(row.set).get(`${row.step}/${row.task}`) || [];

  // The advantage of a reward among those it is compared with, by the estimators of training/algo/credit.py.
  const ESTIMATORS = {
    grpo: (difference, rewards, centre) => difference / Math.sqrt(rewards.reduce((sum, reward) => sum + (reward - centre) ** 2, 0) / (rewards.length - 1)),
    no_std: (difference) => difference,
    rloo: (difference, rewards) => difference * rewards.length / (rewards.length - 1),
  };

  // Which turns are compared, as there: a name for the n-th call of the policy in a run.
  const GROUPINGS = {
    rollout: () => "",
    role: (roles, n) => roles[n],
    role_and_turn: (roles, n) => `${roles[n]} · turn ${roles.slice(0, n).filter((role) => role === roles[n]).length + 1}`,
  };

  // The names of a run's turns that are compared with those of other runs, each once; null where the page cannot tell:
  // finer credit than the outcome takes the tokens of all runs. A run without a call is compared with every other.
  function comparedTurns(row, { grouping = "role", credit = "broadcast" } = {}) {
    if (credit !== "broadcast" || !Object.hasOwn(GROUPINGS, grouping)) return null;
    return row.roles.length ? [...new Set(row.roles.map((_, n) => GROUPINGS[grouping](row.roles, n)))] : [""];
  }

  const turnName = (row, n, { grouping = "role" } = {}) => (Object.hasOwn(GROUPINGS, grouping) && n < row.roles.length ? GROUPINGS[grouping](row.roles, n) : "");

  // The advantage of those turns over the rollouts of a group that have a reward and such turns, or none at all.
  function advantage(row, settings, turns) {
    const { estimator = "grpo" } = settings || {};
    const group = groupOf(row).filter((other) => other.reward !== null);
    const known = comparedTurns(row, settings || {});
    if (row.reward === null || group.length < 2 || known === null || !Object.hasOwn(ESTIMATORS, estimator)) return null;
    const among = (other) => !row.roles.length || !other.roles.length || comparedTurns(other, settings || {}).includes(turns);
    const rewards = group.filter(among).map((other) => other.reward);
    const centre = Format.mean(rewards);
    return rewards.some((reward) => reward !== rewards[0]) ? ESTIMATORS[estimator](row.reward - centre, rewards, centre) : 0;
  }

  // All advantages of a run: the turns' name, empty where there is only one, and the value.
  function advantages(row, settings) {
    const names = comparedTurns(row, settings || {}) || [];
    return names.map((name) => ({ name: names.length > 1 ? name : "", value: advantage(row, settings, name) })).filter(({ value }) => value !== null);
  }

  return {
    advantage, advantages, compare, embedded, facts, groupOf, groups, load, run, search, sets, stepName, stepNumber, turnName,
    onChange: (listen) => listeners.add(listen),
    get words() { return words; },
  };
})();
