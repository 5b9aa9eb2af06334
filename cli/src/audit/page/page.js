"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const SVG = "http://www.w3.org/2000/svg";
  const COLOURS = 8;

  // Other people's text: nothing in it turns what stands beside it around, or hides.
  const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;
  const shown = text => text.replace(HIDDEN, char => "\\u{" + char.codePointAt(0).toString(16) + "}");

  const make = (name, attributes = {}, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };
  const draw = (name, attributes = {}, ...children) => {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };
  const number = value => String(value).replace(/\B(?=(\d{3})+$)/g, "\u202f");
  const bytes = value => {
    let unit = 0, left = value;
    while (left >= 1024 && unit < 4) { left /= 1024; unit += 1; }
    return (unit === 0 ? String(left) : (Math.floor(left * 10) / 10).toString()) + " " + ["B", "KiB", "MiB", "GiB", "TiB"][unit];
  };
  const time = ms => ms === null ? "" : new Date(ms).toISOString().slice(0, 19).replace("T", " ");
  const day = ms => new Date(ms).toISOString().slice(0, 10);
  const share = (part, all) => all === 0 ? "0 %" : part > 0 && part / all < 0.01 ? "under 1 %" : Math.floor(100 * part / all) + " %";
  const count = (n, one, more) => number(n) + " " + (n === 1 ? one : more);
  const keyName = no => {
    const [key, vendor] = data.keys[no];
    return key.slice(0, 15) + "…" + (vendor === null ? "" : " (" + vendor + ")");
  };

  // A table of any length: a page of it at a time; searched and sorted as a whole.
  const tables = [];
  const table = (id, { caption, columns, rows, sort, direction = 1, empty }) => {
    const host = document.getElementById(id);
    const about = caption + ": search";
    const search = make("input", { type: "search", id: id + "-search", "aria-label": about, placeholder: "Search", autocomplete: "off", spellcheck: "false" });
    const size = make("select", { "aria-label": "Rows of a page" });
    for (const rows of [25, 100, 500]) size.append(make("option", { value: rows }, rows + " rows"));
    const status = make("p", { class: "soft", role: "status" });
    const pages = { first: "First", back: "Back", next: "Next", last: "Last" };
    for (const name in pages) pages[name] = make("button", { type: "button", "aria-label": pages[name] + ": " + caption }, pages[name]);
    const head = make("tr"), body = make("tbody");
    const region = make("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": caption },
      make("table", {}, make("caption", {}, caption), make("thead", {}, head), body));
    host.append(make("div", { class: "tools" }, search, size), status, region, make("div", { class: "tools" }, ...Object.values(pages)));

    const state = { order: rows.map((_, at) => at), found: null, page: 0, sort: null, direction: 1, printed: 0 };
    let texts = null;
    const heads = columns.map((column, at) => {
      const button = make("button", { type: "button" }, column.head);
      const cell = make("th", { scope: "col", class: column.kind, "data-head": column.head }, button);
      button.addEventListener("click", () => {
        sortBy(at, state.sort === at ? -state.direction : column.kind === "number" || column.kind === "time" ? -1 : 1);
        state.page = 0;
        show();
      });
      head.append(cell);
      return cell;
    });
    const sortBy = (at, direction) => {
      const value = columns[at].value;
      const values = rows.map(row => { const of = value(row); return typeof of === "string" ? of.toLowerCase() : of; });
      state.order.sort((one, other) => {
        const a = values[one], b = values[other];
        if (a === b) return one - other;
        if (a === null) return 1;
        if (b === null) return -1;
        return (a < b ? -1 : 1) * direction;
      });
      state.sort = at;
      state.direction = direction;
      heads.forEach((cell, no) => no === at
        ? cell.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending") : cell.removeAttribute("aria-sort"));
      filter();
    };
    const filter = () => {
      const words = search.value.toLowerCase().split(/\s+/).filter(word => word !== "");
      if (words.length === 0) { state.found = state.order; return; }
      texts ??= rows.map(row => columns.map(column => column.text(row)).join("\n").toLowerCase());
      state.found = state.order.filter(at => words.every(word => texts[at].includes(word)));
    };
    const show = () => {
      const per = state.printed || Number(size.value);
      const all = state.found.length, last = Math.max(0, Math.ceil(all / per) - 1);
      state.page = Math.min(state.page, last);
      const from = state.printed ? 0 : state.page * per, to = Math.min(all, from + per);
      // What a row is about is its head: who hears the table hears it with each cell.
      body.replaceChildren(...state.found.slice(from, to).map(at => make("tr", {}, ...columns.map(column => column.isName
        ? make("th", { class: column.kind, scope: "row" }, column.text(rows[at]))
        : make("td", { class: column.kind }, column.text(rows[at]))))));
      const of = all === rows.length ? number(all) : number(all) + " found of " + number(rows.length);
      status.textContent = rows.length === 0 ? empty : all === 0 ? "Nothing found of " + number(rows.length) + "."
        : "Rows " + number(from + 1) + " to " + number(to) + " of " + of + (state.printed && to < all ? "; the others are in the page itself." : ".");
      host.dataset.searched = search.value;
      pages.first.disabled = pages.back.disabled = state.page === 0;
      pages.next.disabled = pages.last.disabled = state.page === last;
    };
    let waiting = 0;
    search.addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => { state.page = 0; filter(); show(); }, rows.length > 2000 ? 150 : 0);
    });
    size.addEventListener("change", () => { state.page = 0; show(); });
    const turn = (button, to) => button.addEventListener("click", () => { state.page = to(); show(); region.scrollIntoView({ block: "nearest" }); });
    turn(pages.first, () => 0);
    turn(pages.back, () => state.page - 1);
    turn(pages.next, () => state.page + 1);
    turn(pages.last, () => Infinity);
    sortBy(sort, direction);
    show();
    tables.push(rows => { state.printed = rows; show(); });
  };
  const text = (head, value, kind = "wide") => ({ head, kind, value, text: row => shown(value(row) ?? "") });
  const id = (head, value) => text(head, value, "id");
  const amount = (head, value) => ({ head, kind: "number", value, text: row => number(value(row)) });
  const size = (head, value) => ({ head, kind: "number", value, text: row => bytes(value(row)) });
  const moment = (head, value) => ({ head, kind: "time", value, text: row => time(value(row)) });
  const named = column => ({ ...column, isName: true });

  const STATES = ["as it was", "overwritten", "deleted", "not known", "re-keyed", "shredded"];
  table("objects", {
    caption: "Exposed objects",
    empty: "Nothing was exposed.",
    sort: 0,
    rows: data.objects,
    columns: [
      named(text("Object", row => row[0] === null ? "erased (" + row[15] + "." + row[16] + ")" : data.datasets[row[0]] + "/" + row[1])),
      amount("Generation", row => row[2]),
      size("Size", row => row[3]),
      size("Read of it", row => row[4]),
      size("Read in all", row => row[5]),
      amount("Releases", row => row[6]),
      id("Segments", row => row[17]),
      moment("First (UTC)", row => row[7]),
      moment("Last (UTC)", row => row[8]),
      id("By", row => row[9].map(keyName).concat(row[12] === null ? [] : [keyName(row[12]) + " wrote it"]).join(", ")),
      id("From", row => row[11].map(no => data.sources[no]).join(", ")),
      id("Under", row => row[10].map(no => data.named[no]).join(", ")),
      text("Now", row => STATES[row[13]] + (row[14] === null ? "" : " since " + time(row[14])), "time"),
    ],
  });
  table("workers", {
    caption: "Who read",
    empty: "Nobody read anything.",
    sort: 3,
    direction: -1,
    rows: data.keys.filter(key => key[2] > 0),
    columns: [
      named(id("Key", row => row[0])),
      text("Of vendor", row => row[1] ?? ""),
      amount("Releases", row => row[2]),
      size("Read in all", row => row[3]),
      moment("First (UTC)", row => row[4]),
      moment("Last (UTC)", row => row[5]),
    ],
  });
  table("days", {
    caption: "Read by day and by who read",
    empty: "Nothing was read.",
    sort: 0,
    rows: data.days,
    columns: [
      named({ head: "Day (UTC)", kind: "time", value: row => row[0], text: row => day(row[0]) }),
      id("By", row => keyName(row[1])),
      amount("Releases", row => row[2]),
      size("Read in all", row => row[3]),
    ],
  });
  table("grants", {
    caption: "Grants that are not over",
    empty: "No grant is left.",
    sort: 3,
    direction: -1,
    rows: data.grants,
    columns: [
      named(id("Grant", row => row[0])),
      text("Held by", row => row[1]),
      text("State", row => row[3]),
      moment("Ends (UTC)", row => row[2]),
    ],
  });
  const happenings = data.runs.map(run => [run[1], keyName(run[0]) + " read " + bytes(run[5]) + " in " + count(run[3], "release", "releases")
    + (run[2] > run[1] ? ", until " + time(run[2]) : ""), run[6]])
    .concat(data.orders.map(order => [order[0], order[2] + ": " + order[3] + (order[4] === null ? "" : " (" + order[4] + ")"), order[1]]));
  table("happenings", {
    caption: "Releases and orders",
    empty: "Nothing happened.",
    sort: 0,
    direction: 1,
    rows: happenings,
    columns: [moment("When (UTC)", row => row[0]), text("What", row => row[1]), amount("Entry", row => row[2])],
  });

  // The keys that have a colour of their own: those that read most.
  const coloured = Math.min(data.keys.length, data.keys.length > COLOURS ? COLOURS - 1 : COLOURS);
  const colour = no => "c" + Math.min(no, COLOURS - 1);
  const legend = host => {
    const list = make("ul", { class: "legend" });
    const entry = (no, name) => list.append(make("li", {}, draw("svg", { viewBox: "0 0 10 10", "aria-hidden": "true" },
      draw("rect", { width: 10, height: 10, class: colour(no) })), name));
    data.keys.slice(0, coloured).forEach((key, no) => { if (key[2] > 0) entry(no, shown(keyName(no))); });
    if (data.keys.slice(coloured).some(key => key[2] > 0)) entry(coloured, "others");
    host.append(list);
  };
  const figure = (id, caption, width, height, parts) => {
    const host = document.getElementById(id);
    const svg = draw("svg", { class: "chart", viewBox: "0 0 " + width + " " + height, role: "img", "aria-label": caption });
    svg.append(...parts);
    host.append(make("figure", {}, make("div", { class: "drawn" }, svg), make("figcaption", {}, caption)));
    return host;
  };
  const titled = (element, words) => { element.append(draw("title", {}, words)); return element; };
  const DAY = 86400000, LEFT = 70, RIGHT = 10;

  // Bytes by day, or by as many days as make about a hundred bars.
  if (data.days.length > 0) {
    const first = data.days[0][0], days = (data.days[data.days.length - 1][0] - first) / DAY + 1;
    const each = Math.ceil(days / 100), bars = Math.ceil(days / each);
    const sums = Array.from({ length: bars }, () => new Array(COLOURS).fill(0));
    for (const [at, key, , sum] of data.days) sums[Math.floor((at - first) / DAY / each)][Math.min(key, coloured, COLOURS - 1)] += sum;
    const totals = sums.map(bar => bar.reduce((one, other) => one + other, 0));
    const most = Math.max(1, ...totals);
    const width = 960, height = 240, base = height - 30, high = base - 20, step = (width - LEFT - RIGHT) / bars;
    const parts = [];
    for (const part of [0, 0.5, 1]) {
      const y = base - part * high;
      parts.push(draw("line", { class: "axis", x1: LEFT, x2: width - RIGHT, y1: y, y2: y }),
        draw("text", { x: LEFT - 8, y: y + 4, "text-anchor": "end" }, bytes(Math.round(part * most))));
    }
    sums.forEach((bar, at) => {
      const from = first + at * each * DAY, name = each === 1 ? day(from) : day(from) + " to " + day(from + (each - 1) * DAY);
      let y = base;
      bar.forEach((sum, no) => {
        if (sum === 0) return;
        const tall = Math.max(1, sum / most * high);
        y -= tall;
        parts.push(titled(draw("rect", { class: colour(no), x: LEFT + at * step + step * 0.1, y, width: Math.min(60, step * 0.8), height: tall }),
          name + ": " + bytes(sum) + " by " + (no < coloured ? shown(keyName(no)) : "others")));
      });
    });
    const labels = Math.max(1, Math.ceil(bars / 8));
    for (let at = 0; at < bars; at += labels) {
      parts.push(draw("text", { x: LEFT + at * step + step * 0.1, y: base + 18 }, day(first + at * each * DAY)));
    }
    const caption = "Plaintext bytes whose keys were released, by " + (each === 1 ? "day" : each + " days") + " (UTC) and by who read, each as often as it was released. The table below says the same";
    legend(figure("by-day", caption, width, height, parts));
  }

  // Releases as bars in time, a row a key; orders as lines across them.
  if (data.runs.length + data.orders.length > 0) {
    const times = data.runs.flatMap(run => [run[1], run[2]]).concat(data.orders.map(order => order[0]));
    let from = Infinity, to = -Infinity;
    for (const at of times) { from = Math.min(from, at); to = Math.max(to, at); }
    if (to === from) { from -= 3600000; to += 3600000; }
    const rows = Math.min(Math.max(1, data.keys.filter(key => key[2] > 0).length), COLOURS);
    const width = 960, tall = 22, base = 30 + rows * tall, height = base + 30;
    const x = at => LEFT + (at - from) / (to - from) * (width - LEFT - RIGHT);
    const parts = [draw("line", { class: "axis", x1: LEFT, x2: width - RIGHT, y1: base, y2: base })];
    for (const [at, , event, about] of data.orders) {
      const stops = /suspended|revoked|removed|frozen|blocked|deleted|shredded|destroyed/.test(event) && !/un/.test(event);
      parts.push(titled(draw("line", { class: stops ? "order stop" : "order", x1: x(at), x2: x(at), y1: 14, y2: base }),
        time(at) + ": " + shown(event + ": " + about)));
    }
    for (const [key, first, last, releases, , sum] of data.runs) {
      const row = Math.min(key, rows - 1, COLOURS - 1);
      parts.push(titled(draw("rect", { class: colour(Math.min(key, coloured)), x: x(first), y: 24 + row * tall, width: Math.max(3, x(last) - x(first)), height: tall - 8, rx: 2 }),
        shown(keyName(key)) + ", " + time(first) + " to " + time(last) + ": " + bytes(sum) + " in " + count(releases, "release", "releases")));
    }
    for (const part of [0, 0.25, 0.5, 0.75, 1]) {
      const at = from + part * (to - from), anchor = part === 0 ? "start" : part === 1 ? "end" : "middle";
      parts.push(draw("text", { x: x(at), y: base + 18, "text-anchor": anchor }, time(at).slice(0, 16)));
    }
    const host = figure("timeline", "Releases (bars, a row for each who read) and orders (lines; solid red: what stops somebody) in time, UTC. The table below says the same in words", width, height, parts);
    if (data.runs.length > 0) legend(host);
  }

  // The tree: what there is, and how much of it was read. A folder is filled when it is opened.
  const root = new Map();
  for (const [dataset, folder, objects, size, readObjects, readBytes] of data.folders) {
    let level = root;
    for (const name of [dataset].concat(folder.split("/").filter(part => part !== ""))) {
      if (!level.has(name)) level.set(name, { name, objects: 0, size: 0, readObjects: 0, readBytes: 0, inner: new Map() });
      const node = level.get(name);
      node.objects += objects; node.size += size; node.readObjects += readObjects; node.readBytes += readBytes;
      level = node.inner;
    }
  }
  const line = node => {
    const part = node.size === 0 ? (node.readObjects > 0 ? 100 : 0) : 100 * node.readBytes / node.size;
    return [
      make("span", { class: "name" }, shown(node.name) + "/"),
      draw("svg", { viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" },
        draw("rect", { class: "rest", width: 100, height: 8 }), draw("rect", { class: "c0", width: node.readObjects > 0 ? Math.max(1, part) : 0, height: 8 })),
      make("span", { class: "soft" }, share(node.readBytes, node.size) + ": " + bytes(node.readBytes) + " of " + bytes(node.size)
        + ", " + number(node.readObjects) + " of " + count(node.objects, "object", "objects")),
    ];
  };
  const grow = (level, host) => {
    const nodes = [...level.values()].sort((one, other) => other.readBytes - one.readBytes || (one.name < other.name ? -1 : 1));
    for (const node of nodes) {
      if (node.inner.size === 0) { host.append(make("div", { class: "leaf" }, ...line(node))); continue; }
      const details = make("details", {}, make("summary", {}, ...line(node)));
      details.addEventListener("toggle", () => { if (details.open && details.children.length === 1) grow(node.inner, details); });
      host.append(details);
    }
  };
  const tree = document.getElementById("tree");
  grow(root, tree);
  if (root.size === 0) tree.append(make("p", { class: "soft" }, "There is nothing here."));
  if (root.size === 1) for (const details of tree.querySelectorAll("details")) details.open = true;

  // On paper all that fits: the first two thousand rows of each table.
  addEventListener("beforeprint", () => tables.forEach(print => print(2000)));
  addEventListener("afterprint", () => tables.forEach(print => print(0)));
  document.documentElement.dataset.ready = "yes";
})();
