// Controls and numbers beside a figure.
//
//   dress(root);                                         // the style of what follows
//   number(-1.5, 2)                              // "−1.50"
//   many(1, "step")                                      // "1 step"
//   readings(table, ["", "loss"], [["MAML", "#0072B2", "0.12"]]);  // a row: its name, its colour, its cells
//   announce(node, "MAML starts at 0.6.");       // shown at once, read out politely when the reader rests
//   // in <label>steps <span class="value" aria-hidden="true"></span><input type="range"></label>
//   slider(input, (value) => "3 steps", (value) => {});  // its value in words, and what to do when it moves
//   input.put(3);                                        // moves it without doing that
//   const playing = player(button, 60, () => more);      // a step each 60 ms until one returns false; not for
//                                                        // those who want no motion
//   playing.stop();
const CONTROLS_STYLE = `
.moving.explorable { max-width: 56em; }
.moving .sides { display: flex; flex-wrap: wrap; gap: .4em 1.2em; align-items: flex-start; }
.moving .sides > * { flex: 1 1 17em; min-width: 0; }
.moving label { display: block; margin: .3em 0; }
.moving label :is(.value, output) { font-weight: 600; margin-left: .3em; }
.moving label input[type=range] { display: block; width: 100%; min-height: 2em; }
.moving select { font: inherit; color: CanvasText; background: Canvas; border: 1px solid #888a; border-radius: 4px;
  min-height: 2.2em; padding: .2em .4em; max-width: 100%; }
.moving table.readings { margin: .5em 0; border-collapse: collapse; width: auto; font-size: .9em; line-height: 1.35; }
.moving table.readings :is(th, td) { padding: .2em .7em .2em 0; text-align: right; border: 0; min-width: 0;
  font-variant-numeric: tabular-nums; color: inherit; background: none; }
.moving table.readings th { font-weight: 400; }
.moving table.readings th:first-child { text-align: left; }
@media (min-width: 380px) { .moving table.readings th:first-child { white-space: nowrap; } }
.moving p.told { font-weight: 600; min-height: 1.6em; }`;

function dress(root) {
  root.prepend(Object.assign(document.createElement("style"), { textContent: CONTROLS_STYLE }));
}

function number(value, digits = 2) {
  const text = value.toFixed(digits);
  return Number(text) === 0 ? text.replace("-", "") : text.replace("-", "−");
}

const many = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

function readings(table, heads, rows) {
  const cell = (kind, text, scope) => {
    const node = Object.assign(document.createElement(kind), { textContent: text });
    if (scope) node.scope = scope;
    return node;
  };
  const line = (...cells) => {
    const row = document.createElement("tr");
    row.append(...cells);
    return row;
  };
  const named = (name, colour) => {
    const head = cell("th", name, "row"), swatch = document.createElement("span");
    swatch.style.cssText = `display:inline-block;width:.9em;height:.3em;margin-right:.4em;vertical-align:middle;
      background:${colour === "#000000" ? "currentColor" : colour}`;
    if (colour) head.prepend(swatch);
    return head;
  };
  table.replaceChildren(line(...heads.map((head) => cell("th", head, "col"))),
    ...rows.map(([name, colour, ...cells]) => line(named(name, colour), ...cells.map((text) => cell("td", text)))));
}

function announce(node, text) {
  let aloud = node.querySelector("[role=status]");
  if (!aloud) {
    node.innerHTML = `<span aria-hidden="true"></span><span role="status" aria-live="polite"
      style="position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)"></span>`;
    aloud = node.lastElementChild;
    node.style.position = "relative";
  }
  node.firstElementChild.textContent = text;
  clearTimeout(node.waiting);
  node.waiting = setTimeout(() => { aloud.textContent = text; }, 700);
}

function slider(input, tell, move) {
  const label = input.parentElement, told = label.querySelector(".value, output");
  if (label.control !== input) input.setAttribute("aria-label", label.textContent.trim()); // it labels its output
  const show = () => {
    told.textContent = tell(Number(input.value));
    input.setAttribute("aria-valuetext", told.textContent);
  };
  input.addEventListener("input", () => { show(); move(Number(input.value)); });
  input.put = (value) => { input.value = value; show(); };
  show();
}

function player(button, pace, step) {
  let timer = null;
  const tell = (running) => {
    button.textContent = running ? "Pause" : "Play";
    button.setAttribute("aria-pressed", String(running));
  };
  function stop() {
    clearInterval(timer);
    timer = null;
    tell(false);
  }
  button.hidden = matchMedia("(prefers-reduced-motion: reduce)").matches;
  button.addEventListener("click", () => {
    if (timer !== null) return stop();
    tell(true);
    timer = setInterval(() => { if (!step()) stop(); }, pace);
  });
  tell(false);
  return { stop };
}
