// Opens the chain, sorts and searches the tables, moves over the map, copies, switches light and dark.
// Everything that it shows is made of text nodes; it fetches nothing. Without it the page says all but single tensors.
"use strict";
(() => {
  const PAGE_ROWS = 100;
  const all = (selector, root = document) => Array.from(root.querySelectorAll(selector));
  const collator = new Intl.Collator("en", { numeric: true });

  /** An element with attributes, and children that are elements or text. */
  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : String(value));
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  }

  const data = (root) => JSON.parse(root.querySelector(":scope > script[type='application/json']").textContent);

  // Light and dark

  function theme() {
    const root = document.documentElement;
    const store = (value) => { try { localStorage.setItem("gradcheck-theme", value); } catch { /* private window */ } };
    const stored = () => { try { return localStorage.getItem("gradcheck-theme"); } catch { return null; } };
    const dark = () => root.dataset.theme
      ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    const button = make("button", { type: "button" });
    const label = () => { button.textContent = dark() ? "Light" : "Dark"; };
    if (["light", "dark"].includes(stored())) root.dataset.theme = stored();
    button.setAttribute("aria-label", "Switch between light and dark");
    button.addEventListener("click", () => {
      root.dataset.theme = dark() ? "light" : "dark";
      store(root.dataset.theme);
      label();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", label);
    label();
    document.querySelector(".bar").append(button);
  }

  // Copying

  function selected(node) {
    const range = document.createRange();
    range.selectNodeContents(node);
    const selection = getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
    const done = document.execCommand("copy"); // where there is no clipboard for a page from a file
    selection.removeAllRanges();
    return done;
  }

  function copyable(figure) {
    const block = figure.querySelector("pre");
    const button = make("button", { type: "button" }, "Copy");
    button.addEventListener("click", async () => {
      let done = false;
      try {
        await navigator.clipboard.writeText(block.textContent);
        done = true;
      } catch {
        done = selected(block);
      }
      button.textContent = done ? "Copied" : "Select it by hand";
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
    button.setAttribute("aria-live", "polite");
    figure.append(button);
  }

  // Sorting

  const value = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.v === undefined ? cell.textContent : cell.dataset.v;
  };

  function compared(one, other) {
    const numbers = [Number(one), Number(other)];
    if (one !== "" && other !== "" && numbers.every((number) => !Number.isNaN(number))) return numbers[0] - numbers[1];
    return collator.compare(one, other);
  }

  /** Buttons in the heads of a table; `sort(column, direction)` puts the rows in order. */
  function heads(table, sort) {
    const cells = all(":scope > thead th", table);
    cells.forEach((cell, column) => {
      const button = make("button", { type: "button" }, cell.textContent);
      cell.replaceChildren(button);
      button.addEventListener("click", () => {
        const first = cell.classList.contains("number") ? "descending" : "ascending";
        const other = first === "ascending" ? "descending" : "ascending";
        const next = cell.getAttribute("aria-sort") === first ? other : first;
        cells.forEach((each) => each.removeAttribute("aria-sort"));
        cell.setAttribute("aria-sort", next);
        sort(column, next === "ascending" ? 1 : -1);
      });
    });
  }

  function sortable(table) {
    heads(table, (column, direction) => {
      const body = table.tBodies[0];
      const rows = Array.from(body.rows).map((row) => [value(row, column), row]);
      rows.sort((a, b) => (a[0] === "") - (b[0] === "") || direction * compared(a[0], b[0]));
      body.append(...rows.map(([, row]) => row));
    });
  }

  // Every single tensor: built when it is opened

  const NAME = 0, ELEMENTS = 2, GRADIENT = 4, NORM = 5, REASON = 6;
  const TITLES = ["name", "shape", "elements", "dtype", "gradient", "norm"];

  function tensorRow(row) {
    const gradient = row[REASON] ? `${row[GRADIENT]}: ${row[REASON]}` : row[GRADIENT];
    return make("tr", {},
      make("th", { scope: "row" }, row[NAME]),
      make("td", {}, row[1]),
      make("td", { class: "number" }, row[ELEMENTS].toLocaleString("en")),
      make("td", {}, row[3]),
      make("td", {}, gradient),
      make("td", { class: "number" }, row[NORM] === null ? "" : Number(row[NORM]).toPrecision(2)));
  }

  function tensors(details) {
    const { total, rows } = data(details);
    let order = rows, shown = PAGE_ROWS;
    const search = make("input", { type: "search", autocomplete: "off", spellcheck: "false" });
    const states = [...new Set(rows.map((row) => row[GRADIENT]))].sort();
    const state = make("select", {}, make("option", { value: "" }, "all"),
      ...states.map((name) => make("option", { value: name }, name)));
    const tally = make("p", { role: "status" });
    const body = make("tbody");
    const more = make("button", { type: "button" });
    const head = make("tr", {}, ...TITLES.map((title, column) => make("th",
      { scope: "col", class: column === ELEMENTS || column === NORM ? "number" : null }, title)));
    const table = make("table", { class: "rows" }, make("caption", { class: "hidden" }, "Trainable tensors"),
      make("thead", {}, head), body);

    function draw() {
      const wanted = search.value.trim().toLowerCase();
      const found = order.filter((row) => (!state.value || row[GRADIENT] === state.value)
        && (!wanted || row[NAME].toLowerCase().includes(wanted)));
      body.replaceChildren(...found.slice(0, shown).map(tensorRow));
      const left = found.length - shown;
      tally.textContent = found.length === total ? `${total.toLocaleString("en")} tensors`
        : `${found.length.toLocaleString("en")} of ${total.toLocaleString("en")} tensors`;
      more.hidden = left <= 0;
      more.textContent = `Show ${Math.min(left, PAGE_ROWS).toLocaleString("en")} more`;
    }

    heads(table, (column, direction) => {
      order = [...rows].sort((a, b) => {
        const [one, other] = [a[column], b[column]];
        if (one === null || other === null) return (one === null) - (other === null);
        return direction * (typeof one === "number" ? one - other : collator.compare(one, other));
      });
      draw();
    });
    for (const control of [search, state]) {
      control.addEventListener("input", () => { shown = PAGE_ROWS; draw(); });
    }
    more.addEventListener("click", () => { shown += PAGE_ROWS; draw(); });
    draw();
    const scroller = make("div", { class: "scroller", role: "group", "aria-label": "Trainable tensors" }, table);
    details.append(
      make("div", { class: "tools" },
        make("label", { class: "grow" }, "Name contains", search), make("label", {}, "Gradient", state), tally),
      scroller, more);
    reachable(scroller);
  }

  // The chain: a link opens to the modules inside

  function treeRow(node, marks) {
    const [name, state, trainable, reached, incomplete, mark, note, children] = node;
    const [glyph, word] = marks[state] || ["?", state];
    const leaf = children.length === 0;
    const who = make("span", { class: "who" }, make("span", { class: "name" }, name));
    const counted = trainable && !leaf && state !== "unknown";
    let count = counted ? `${reached.toLocaleString("en")} of ${trainable.toLocaleString("en")}` : "";
    if (counted && incomplete) count += `, ${incomplete.toLocaleString("en")} incomplete`;
    const row = make("div", { class: leaf ? "link leaf" : "link" }, who,
      make("span", { class: "type" }, leaf ? note : ""),
      make("span", { class: `state ${state}` }, make("span", { class: "glyph", "aria-hidden": "true" }, glyph), ` ${word}`),
      make("span", { class: "reached" }, count));
    if (mark) {
      const words = { cut: "cut here", "partly-cut": "partly cut here", "cut-inside": "cut inside" }[mark];
      row.append(make("span", { class: mark === "partly-cut" ? "cut partly" : "cut" },
        make("span", { class: "glyph", "aria-hidden": "true" }, "✂"), ` ${words}${note ? ` · ${note}` : ""}`));
    }
    return row;
  }

  /** Makes the name in `row` a button that opens the nodes `children`. */
  function openable(row, children, tree) {
    if (!children.length) return;
    const name = row.querySelector(".who > .name");
    const button = make("button", { type: "button", class: "toggle", "aria-expanded": "false" });
    name.replaceWith(button);
    button.append(name);
    let list = null;
    const set = (open) => {
      if (open && !list) {
        list = make("ul", { class: "tree" }, ...children.map((index) => {
          const node = tree.nodes[index];
          const inner = treeRow(node, tree.marks);
          openable(inner, node[7], tree);
          return make("li", {}, inner);
        }));
        row.after(list);
      }
      if (list) list.hidden = !open;
      button.setAttribute("aria-expanded", String(open));
    };
    button.addEventListener("click", () => set(button.getAttribute("aria-expanded") !== "true"));
    button.addEventListener("keydown", (event) => {
      if (event.key === "ArrowRight") set(true);
      else if (event.key === "ArrowLeft") set(false);
      else return;
      event.preventDefault();
    });
  }

  function picture(root) {
    const tree = data(root);
    for (const item of all("li[data-link]", root)) {
      openable(item.querySelector(".link"), tree.links[Number(item.dataset.link)], tree);
    }
  }

  // The map: the cell under the pointer or the focus is told in words

  function told(cell) {
    const table = cell.closest("table");
    const row = cell.parentElement.cells[0].textContent;
    const layer = table.tHead.rows[0].cells[cell.cellIndex].textContent;
    const container = table.querySelector("caption code");
    const where = container ? `${container.textContent}.${layer} ${row}` : row;
    return `${where}: ${cell.textContent || "nothing trains here"}`;
  }

  function map(table) {
    const scroller = table.closest(".scroller");
    const readout = make("p", { class: "readout", "aria-hidden": "true" },
      "Point at a cell, or move over the map with the arrow keys.");
    scroller.after(readout);
    table.setAttribute("role", "grid");
    const rows = Array.from(table.tBodies[0].rows);
    let current = rows[0] && rows[0].cells[1];
    if (!current) return;
    current.tabIndex = 0;
    const say = (event) => { if (event.target.localName === "td") readout.textContent = told(event.target); };
    table.addEventListener("pointerover", say);
    table.addEventListener("focusin", (event) => {
      if (event.target.localName !== "td") return;
      current.tabIndex = -1;
      current = event.target;
      current.tabIndex = 0;
      say(event);
    });
    table.addEventListener("click", (event) => {
      if (event.target.localName === "td") { event.target.tabIndex = -1; event.target.focus(); }
    });
    table.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
      const column = { Home: 1, End: -1 }[event.key];
      if (!step && !column) return;
      event.preventDefault();
      const at = rows.indexOf(current.parentElement);
      const row = rows[Math.min(Math.max(at + (step ? step[0] : 0), 0), rows.length - 1)];
      const last = row.cells.length - 1;
      const to = step ? Math.min(Math.max(current.cellIndex + step[1], 1), last) : column === 1 ? 1 : last;
      row.cells[to].tabIndex = -1;
      row.cells[to].focus();
    });
  }

  // What scrolls sideways can be reached by keyboard, and only what does

  function reachable(scroller) {
    new ResizeObserver(() => {
      const scrolls = scroller.scrollWidth > scroller.clientWidth && !scroller.querySelector("td[tabindex]");
      if (scrolls) scroller.tabIndex = 0;
      else scroller.removeAttribute("tabindex");
    }).observe(scroller);
  }

  // A link to what is folded opens it

  function unfold() {
    let at = location.hash ? document.getElementById(decodeURIComponent(location.hash.slice(1))) : null;
    const target = at;
    for (; at; at = at.parentElement) if (at.localName === "details") at.open = true;
    if (target) target.scrollIntoView();
  }

  theme();
  all("[data-copy]").forEach(copyable);
  all("table[data-sortable]").forEach(sortable);
  all(".picture").forEach(picture);
  all("table.map").forEach(map);
  all(".scroller").forEach(reachable);
  all("details.tensors").forEach((details) => {
    details.addEventListener("toggle", () => tensors(details), { once: true });
  });
  addEventListener("hashchange", unfold);
  unfold();
})();
