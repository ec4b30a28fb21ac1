// Asks the node once a second and draws what it says. Text goes in as text, never as markup.
"use strict";
const history = [];
let last = null;

function el(tag, text) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text === null ? "–" : String(text);
  return node;
}

function table(target, heads, rows) {
  const out = el("table");
  const head = el("tr");
  heads.forEach((name) => head.append(el("th", name)));
  out.append(head);
  rows.forEach((row) => {
    const line = el("tr");
    row.forEach((cell) => {
      const td = el("td");
      td.append(cell instanceof Node ? cell : el("span", cell));
      line.append(td);
    });
    out.append(line);
  });
  document.getElementById(target).replaceChildren(rows.length ? out : el("p", "none"));
}

function metric(text, name) {
  let sum = 0;
  for (const line of text.split("\n")) {
    if (line.startsWith(name) && " {".includes(line[name.length])) sum += Number(line.split(" ").pop());
  }
  return sum;
}

function bar(used, limit) {
  const outer = el("div");
  outer.className = "bar";
  const inner = document.createElement("i");
  inner.style.width = (limit ? Math.min(100, (100 * used) / limit) : 0) + "%";
  outer.append(inner);
  return outer;
}

function draw() {
  const top = Math.max(1, ...history);
  const points = history.map((n, i) => (i * 600) / 299 + "," + (116 - (112 * n) / top));
  document.getElementById("line").setAttribute("points", points.join(" "));
}

async function json(path) {
  return (await fetch(path)).json();
}

async function turn() {
  const state = document.getElementById("state");
  try {
    const ready = await fetch("readyz");
    state.textContent = ready.ok ? "ready" : await ready.text();
    state.className = "badge " + (ready.ok ? "good" : "bad");
    const text = await (await fetch("metrics")).text();
    const now = { at: performance.now(), admitted: metric(text, "banyan_calls_admitted_total") };
    const calls = metric(text, "banyan_calls");
    history.push(calls);
    if (history.length > 300) history.shift();
    draw();
    const set = (id, value) => (document.getElementById(id).textContent = value);
    set("calls", calls);
    if (last) set("rate", ((1000 * (now.admitted - last.admitted)) / (now.at - last.at)).toFixed(1));
    last = now;
    set("answered", metric(text, "banyan_calls_answered_total"));
    set("refused", metric(text, "banyan_refusals_total"));
    const syncs = metric(text, "banyan_log_sync_seconds_count");
    const mean = syncs ? (1e6 * metric(text, "banyan_log_sync_seconds_sum")) / syncs : 0;
    set("sync", mean.toFixed(0) + " µs");
    const live = (await json("v1/calls")).items;
    const held = {};
    live.forEach((call) => call.slots.forEach((slot) => {
      if (slot.scope === "trunk") held[slot.name] = (held[slot.name] || 0) + 1;
    }));
    const trunks = (await json("v1/trunks")).items;
    table("trunks", ["name", "in use", "limit", ""], trunks.map((trunk) => {
      const limit = trunk.limits ? trunk.limits.concurrent : null;
      return [trunk.name, held[trunk.name] || 0, limit, bar(held[trunk.name] || 0, limit)];
    }));
    table("list", ["id", "state", "trunk", "from", "to", "started"],
      live.slice(-50).reverse().map((c) => [c.id, c.state, c.trunk, c.from, c.to, c.started_at]));
    const records = (await json("v1/cdrs?limit=20")).items;
    table("records", ["ended", "trunk", "from", "to", "status", "seconds", "reason"],
      records.reverse().map((c) =>
        [c.ended_at, c.trunk, c.from, c.to, c.sip_status, (c.duration_ms / 1000).toFixed(1), c.reason]));
  } catch (error) {
    state.textContent = "no answer";
    state.className = "badge bad";
  }
  setTimeout(turn, 1000);
}

turn();
