'use strict';
// The stage: which pictures are shown, how they are compared, and which part of them is seen.
(() => {
const LARGEST = 16; // screen pixels for each pixel of a picture
const LEVELS = [1 / 16, 1 / 8, 1 / 4, 1 / 3, 1 / 2, 2 / 3, 1, 2, 3, 4, 6, 8, 12, LARGEST];
const $ = (id) => document.getElementById(id);
const all = (selector) => [...document.querySelectorAll(selector)];
const data = JSON.parse($('data').textContent);
const stage = $('stage'), layers = $('layers'), split = $('split'), divider = $('divider');
const figures = all('.layer'), ports = all('.port');
const count = data.columns.length;
const order = data.views.map((view, i) => i).filter((i) => data.views[i].seconds !== null)
  .sort((i, j) => data.views[i].seconds - data.views[j].seconds);
const state = {
  mode: count > 1 ? 'split' : 'single', before: 'split', a: 0, b: Math.min(1, count - 1), front: 'a',
  view: 0, frame: 0, split: 0.5, gain: 4, fit: true, scale: 1, x: 0.5, y: 0.5, playing: false,
};
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const view = () => data.views[state.view];
const frames = () => Math.max(...view().pictures.map((each) => each.length));

// Pictures. Those of the first view stand in the page, the others in blocks at its end, which are read when shown.
const first = new Map(all('img[data-picture]').filter((img) => img.hasAttribute('src')).map((img) => [+img.dataset.picture, img.src]));
const images = new Map(); // of the shown view: column and picture to element
all('img[data-picture]').forEach((img) => images.set(key(+img.closest('.layer').dataset.column, +img.dataset.picture), img));

function key(column, picture) { return `${column} ${picture}`; }

function source(picture) {
  const block = $(`p${picture}`);
  return first.get(picture) ?? (block && `data:${block.dataset.kind};base64,${block.textContent}`);
}

function image(column, frame) {
  const { pictures, width, height, title } = view();
  const picture = pictures[column][Math.min(frame, pictures[column].length - 1)];
  if (picture === undefined) return null;
  let img = images.get(key(column, picture));
  if (!img) {
    img = new Image(width, height);
    img.draggable = false;
    img.decoding = 'async';
    images.set(key(column, picture), img);
  }
  if (!img.hasAttribute('src')) { // the page may still be loading, and its end not be there yet
    const found = source(picture);
    if (found) img.src = found;
  }
  img.alt = `${title}: ${data.columns[column]}`;
  return img;
}

function visible() {
  if (state.mode === 'side') return data.columns.map((_, i) => i);
  if (state.mode === 'single') return [state[state.front]];
  return [state.a, state.b];
}

let turn = 0;
// Shows the frame in all visible columns at once, when all of them are decoded.
async function show() {
  const mine = ++turn;
  const wanted = visible().map((column) => [column, image(column, state.frame)]);
  place();
  const missing = wanted.filter(([column, img]) => img && ports[column].firstElementChild !== img);
  if (missing.length) {
    await Promise.allSettled(missing.map(([, img]) => (img.hasAttribute('src') ? img.decode() : null)));
    if (mine !== turn) return;
  }
  for (const [column, img] of wanted) {
    if (img && ports[column].firstElementChild !== img) ports[column].replaceChildren(img);
    if (!img) ports[column].replaceChildren();
  }
  place();
  stage.dataset.ready = `${state.view} ${state.frame}`;
}

// Places. `x` and `y` are the centre of what is seen, as shares of the picture, so that they hold for all columns and views.
function columnsOf(width, height) {
  let best = [1, 0];
  for (let n = 1; n <= count; n++) {
    const wide = (width - 4 * (n - 1)) / n, rows = Math.ceil(count / n);
    const high = Math.min((height - 4 * (rows - 1)) / rows, (wide * view().height) / view().width);
    const area = Math.min(wide, (high * view().width) / view().height) * high;
    if (area > best[1] * 1.02) best = [n, area];
  }
  return best[0];
}

function fitting(box) {
  const dpr = devicePixelRatio || 1;
  const scale = Math.min(box.width / view().width, box.height / view().height) * dpr;
  return scale >= 1 ? Math.min(Math.floor(scale + 1e-6), LARGEST) : scale; // whole pixels stay sharp
}

const least = (box) => Math.min(fitting(box), 1);

function layout() {
  const narrow = innerWidth < 700, room = Math.max(240, innerHeight * (narrow ? 0.62 : 0.72));
  const width = stage.clientWidth;
  const shape = Math.max(...data.views.map((each) => each.height / each.width));
  const overlay = state.mode !== 'side';
  layers.className = `layers ${overlay ? 'overlay' : 'beside'} ${state.mode}` + (state.mode === 'difference' ? ` gain${state.gain}` : '');
  if (overlay) {
    layers.style.gridTemplateColumns = '';
    layers.style.gridAutoRows = '';
    stage.style.height = `${Math.round(Math.min(room, Math.max(160, width * shape)))}px`;
  } else {
    const n = narrow && view().width >= view().height ? 1 : columnsOf(width, room), rows = Math.ceil(count / n);
    const cell = Math.min(narrow ? room : Math.max(room / rows, 200), ((width - 4 * (n - 1)) / n) * shape);
    layers.style.gridTemplateColumns = `repeat(${n},minmax(0,1fr))`;
    layers.style.gridAutoRows = '1fr';
    stage.style.height = `${Math.round(cell * rows + 4 * (rows - 1))}px`;
  }
  const seen = visible();
  figures.forEach((figure, i) => {
    figure.classList.toggle('on', seen.includes(i));
    figure.classList.toggle('over', overlay && seen.length > 1 && seen[1] === i);
  });
}

function place() {
  layout();
  const dpr = devicePixelRatio || 1, { width, height } = view();
  const box = ports[visible()[0]].getBoundingClientRect();
  if (!box.width || !box.height) return;
  if (state.fit) state.scale = fitting(box);
  state.scale = clamp(state.scale, least(box), LARGEST);
  const css = state.scale / dpr, wide = width * css, high = height * css;
  const centre = (share, size, side) => (size <= side ? 0.5 : clamp(share, side / 2 / size, 1 - side / 2 / size));
  state.x = centre(state.x, wide, box.width);
  state.y = centre(state.y, high, box.height);
  const canPan = wide > box.width + 0.5 || high > box.height + 0.5;
  stage.classList.toggle('can-pan', canPan);
  stage.classList.toggle('whole', !canPan);
  let left = 0;
  for (const column of visible()) {
    const port = ports[column].getBoundingClientRect();
    const snapped = (at, edge) => Math.round((edge + at) * dpr) / dpr - edge; // to whole pixels of the screen
    left = snapped(port.width / 2 - state.x * wide, port.left);
    const top = snapped(port.height / 2 - state.y * high, port.top + scrollY);
    for (const img of ports[column].children) style(img, wide, high, left, top);
    const next = image(column, state.frame); // may not stand in the page yet
    if (next) style(next, wide, high, left, top);
  }
  // The slider runs over the part of the picture that is seen.
  const start = Math.max(0, left), end = Math.min(box.width, left + wide), at = start + (end - start) * state.split;
  figures.forEach((figure, i) => { figure.style.clipPath = state.mode === 'split' && i === state.b ? `inset(0 0 0 ${at}px)` : ''; });
  divider.style.left = `${at}px`;
  divider.dataset.start = start;
  divider.dataset.end = end;
  controls();
}

function style(img, wide, high, left, top) {
  if (+img.getAttribute('width') !== view().width || +img.getAttribute('height') !== view().height) return; // of the view before
  img.style.width = `${wide}px`;
  img.style.height = `${high}px`;
  img.style.left = `${left}px`; // no transform, which would blur where the stage begins between two pixels of the screen
  img.style.top = `${top}px`;
  img.classList.toggle('pixels', state.scale >= 2);
}

function zoom(scale, x, y) {
  const port = x === undefined ? ports[visible()[0]] : ports[visible().find((i) => inside(ports[i], x, y)) ?? visible()[0]];
  const box = port.getBoundingClientRect(), dpr = devicePixelRatio || 1;
  const dx = x === undefined ? 0 : x - box.left - box.width / 2, dy = y === undefined ? 0 : y - box.top - box.height / 2;
  const old = state.scale / dpr, now = clamp(scale, least(box), LARGEST) / dpr;
  state.x += (dx / old - dx / now) / view().width;
  state.y += (dy / old - dy / now) / view().height;
  state.scale = now * dpr;
  state.fit = Math.abs(state.scale - fitting(box)) < 1e-6;
  place();
  say();
}

function inside(element, x, y) {
  const box = element.getBoundingClientRect();
  return x >= box.left && x <= box.right && y >= box.top && y <= box.bottom;
}

function step(up, x, y) {
  const box = ports[visible()[0]].getBoundingClientRect();
  const levels = [...new Set([...LEVELS, fitting(box)])].sort((a, b) => a - b);
  const next = up ? levels.find((level) => level > state.scale * 1.001) : levels.findLast((level) => level < state.scale * 0.999);
  if (next !== undefined) zoom(next, x, y);
}

function pan(dx, dy) {
  const css = state.scale / (devicePixelRatio || 1);
  state.x -= dx / css / view().width;
  state.y -= dy / css / view().height;
  place();
}

// What the controls show, and what is said.
function pressed(selector, is) { all(selector).forEach((button) => button.setAttribute('aria-pressed', is(button))); }
function text(id, value) { if ($(id).textContent !== value) $(id).textContent = value; }

function controls() {
  const { mode, a, b } = state;
  pressed('[data-mode]', (button) => button.dataset.mode === mode);
  pressed('[data-gain]', (button) => +button.dataset.gain === state.gain);
  $('a').value = a;
  $('b').value = b;
  $('sliding').hidden = mode !== 'split';
  $('gains').hidden = mode !== 'difference';
  split.value = Math.round(state.split * 1000);
  split.setAttribute('aria-valuetext', `${Math.round(state.split * 100)} % ${data.columns[a]}, then ${data.columns[b]}`);
  const percent = state.scale * 100;
  text('percent', `${percent < 10 ? percent.toFixed(1) : Math.round(percent)} %`);
  $('fit').setAttribute('aria-pressed', state.fit);
  $('one').setAttribute('aria-pressed', Math.abs(state.scale - 1) < 1e-6);
  $('in').disabled = state.scale >= LARGEST;
  $('out').disabled = state.scale <= least(ports[visible()[0]].getBoundingClientRect()) * 1.001;
  text('left', mode === 'side' ? '' : mode === 'difference' ? `difference ×${state.gain}: ${data.columns[a]} − ${data.columns[b]}`
    : data.columns[mode === 'single' ? state[state.front] : a]);
  text('right', mode === 'split' ? data.columns[b] : '');
  $('left').classList.toggle('alone', mode !== 'split');
}

let waiting;
function say() {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    const { mode, a, b } = state, names = data.columns;
    const what = mode === 'side' ? 'All columns side by side'
      : mode === 'single' ? names[state[state.front]]
      : mode === 'split' ? `${names[a]} left of the slider, ${names[b]} right of it` : `Difference of ${names[a]} and ${names[b]}, times ${state.gain}`;
    text('said', `${what}. ${view().title}, view ${state.view + 1} of ${data.views.length}. Zoom ${$('percent').textContent}.`);
  }, 150);
}

// Choices.
function setMode(mode) {
  if (count < 2) return;
  if (mode !== state.mode) state.before = state.mode;
  state.mode = mode;
  show();
  say();
}

function choose(side, column) {
  if (column >= count || count < 2) return;
  const other = side === 'a' ? 'b' : 'a';
  if (state[other] === column) state[other] = state[side];
  state[side] = column;
  if (state.mode === 'single') state.front = side;
  show();
  say();
}

function blink() {
  if (count < 2) return;
  if (state.mode === 'single') state.front = state.front === 'a' ? 'b' : 'a';
  else state.front = 'a';
  setMode('single');
}

function setView(i) {
  if (i < 0 || i >= data.views.length || i === state.view) return;
  play(false);
  state.view = i;
  state.frame = 0;
  images.clear();
  describe();
  show();
  say();
}

function clock(seconds) {
  const minutes = Math.floor(seconds / 60);
  return `${minutes}:${(seconds - 60 * minutes).toFixed(3).padStart(6, '0')}`;
}

function describe() {
  const { title, note, scores, seconds } = view();
  text('title', title);
  text('note', note);
  text('place', `${state.view + 1} of ${data.views.length}`);
  $('previous').disabled = state.view === 0;
  $('next').disabled = state.view === data.views.length - 1;
  all('[data-view]').forEach((button) => {
    if (+button.dataset.view === state.view) {
      button.setAttribute('aria-current', 'true');
      const list = $('views'), item = button.parentElement;
      list.scrollLeft = clamp(list.scrollLeft, item.offsetLeft + item.offsetWidth - list.clientWidth, item.offsetLeft);
      list.scrollTop = clamp(list.scrollTop, item.offsetTop + item.offsetHeight - list.clientHeight, item.offsetTop);
    } else button.removeAttribute('aria-current');
  });
  if ($('scores')) {
    $('scores').hidden = !scores.length;
    all('#scores tbody tr').forEach((row, i) => [...row.cells].slice(1).forEach((cell, j) => { cell.textContent = scores[i]?.[j] ?? ''; }));
  }
  $('timing').hidden = order.length < 2;
  if (seconds !== null) {
    $('time').value = order.indexOf(state.view);
    $('time').setAttribute('aria-valuetext', `${clock(seconds)}, ${title}`);
    text('time-text', clock(seconds));
  }
  $('frames').hidden = frames() < 2;
  $('frame').max = frames() - 1;
  frameText();
  for (const chart of all('.chart')) {
    const { first, last, left, right } = chart.dataset;
    const x = seconds === null ? -9 : +left + ((seconds - first) / (last - first)) * (right - left);
    const mark = chart.querySelector('.mark');
    mark.setAttribute('d', mark.getAttribute('d').replace(/^M[^V]*?(?= )/, `M${x.toFixed(1)}`));
  }
}

function frameText() {
  $('frame').value = state.frame;
  text('frame-text', `${state.frame + 1} of ${frames()}`);
  $('frame').setAttribute('aria-valuetext', $('frame-text').textContent);
}

// Playing: all frames of the visible columns are decoded before, so that columns stay together.
let playing = 0;
async function play(on) {
  const mine = ++playing;
  state.playing = on && frames() > 1;
  text('play', state.playing ? 'Pause' : 'Play');
  $('play').setAttribute('aria-pressed', state.playing);
  if (!state.playing) return;
  const rate = view().rate || 12;
  await Promise.allSettled(visible().flatMap((c) => [...Array(frames()).keys()].map((f) => image(c, f)?.decode())));
  if (mine !== playing) return;
  const start = performance.now() - (state.frame / rate) * 1000;
  const tick = (now) => {
    if (mine !== playing) return;
    const frame = Math.floor((Math.max(0, now - start) * rate) / 1000) % frames();
    if (frame !== state.frame) {
      state.frame = frame;
      frameText();
      show();
    }
    requestAnimationFrame(tick);
  };
  requestAnimationFrame(tick);
}

// Pointers: mouse, pen and fingers. One moves the slider or the picture, two zoom.
const pointers = new Map();
let held = null, pinch = null;
const middle = () => {
  const [p, q] = [...pointers.values()];
  return { x: (p.x + q.x) / 2, y: (p.y + q.y) / 2, far: Math.hypot(p.x - q.x, p.y - q.y) };
};

function slideTo(x) {
  const start = +divider.dataset.start, end = +divider.dataset.end;
  state.split = clamp((x - stage.getBoundingClientRect().left - start) / Math.max(1, end - start), 0, 1);
  place();
}

stage.addEventListener('pointerdown', (event) => {
  if (event.button > 0) return;
  stage.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  if (pointers.size === 2) {
    pinch = { ...middle(), scale: state.scale };
    held = null;
    return;
  }
  const slides = state.mode === 'split' && (divider.contains(event.target) || !stage.classList.contains('can-pan'));
  held = slides ? 'slider' : 'picture';
  stage.classList.toggle('panning', held === 'picture' && stage.classList.contains('can-pan'));
  if (slides && !divider.contains(event.target) && event.pointerType === 'mouse') slideTo(event.clientX);
});
stage.addEventListener('pointermove', (event) => {
  const last = pointers.get(event.pointerId);
  if (!last) return;
  const dx = event.clientX - last.x, dy = event.clientY - last.y;
  pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  if (pinch && pointers.size === 2) {
    const now = middle();
    zoom((pinch.scale * now.far) / Math.max(1, pinch.far), now.x, now.y);
    pan(now.x - pinch.x, now.y - pinch.y);
    pinch.x = now.x;
    pinch.y = now.y;
  } else if (held === 'slider') slideTo(event.clientX);
  else if (held === 'picture') pan(dx, dy);
});
for (const name of ['pointerup', 'pointercancel']) {
  stage.addEventListener(name, (event) => {
    if (!pointers.delete(event.pointerId)) return;
    if (pinch && pointers.size < 2) {
      pinch = null;
      if (state.scale > 1) zoom(Math.round(state.scale)); // whole pixels
    }
    if (!pointers.size) {
      held = null;
      stage.classList.remove('panning');
    }
  });
}
let rolled = 0;
stage.addEventListener('wheel', (event) => {
  if (event.deltaY > 0 && state.fit && !event.ctrlKey) return; // nothing to zoom out: the page scrolls
  event.preventDefault();
  rolled += event.deltaY * (event.deltaMode === 1 ? 33 : 1);
  if (Math.abs(rolled) < 50) return;
  step(rolled < 0, event.clientX, event.clientY);
  rolled = 0;
}, { passive: false });

// Controls.
split.addEventListener('input', () => { state.split = split.value / 1000; place(); });
all('[data-mode]').forEach((button) => button.addEventListener('click', () => setMode(button.dataset.mode)));
all('[data-gain]').forEach((button) => button.addEventListener('click', () => { state.gain = +button.dataset.gain; place(); say(); }));
all('[data-view]').forEach((button) => button.addEventListener('click', () => setView(+button.dataset.view)));
for (const side of ['a', 'b']) $(side).addEventListener('change', (event) => choose(side, +event.target.value));
$('blink').addEventListener('click', blink);
$('in').addEventListener('click', () => step(true));
$('out').addEventListener('click', () => step(false));
$('fit').addEventListener('click', fitAll);
$('one').addEventListener('click', () => zoom(1));
$('previous').addEventListener('click', () => setView(state.view - 1));
$('next').addEventListener('click', () => setView(state.view + 1));
$('time').max = Math.max(0, order.length - 1);
$('time').addEventListener('input', () => setView(order[$('time').value]));
$('play').addEventListener('click', () => play(!state.playing));
$('frame').addEventListener('input', () => { play(false); state.frame = +$('frame').value; frameText(); show(); });
$('help').addEventListener('click', () => $('keys').showModal());
$('close').addEventListener('click', () => $('keys').close());
// After a click, keys belong to the stage: a space blinks and does not press the button again.
document.addEventListener('click', (event) => {
  if (event.detail && event.target.closest('.viewer button:not(#help)')) stage.focus({ preventScroll: true });
});

function fitAll() {
  state.fit = true;
  place();
  say();
}

all('.chart').forEach((chart) => chart.addEventListener('click', (event) => {
  const { first, last, left, right } = chart.dataset, box = chart.getBoundingClientRect();
  const x = ((event.clientX - box.left) / box.width) * chart.viewBox.baseVal.width;
  const time = +first + ((x - left) / (right - left)) * (last - first);
  const far = (i) => Math.abs(data.views[i].seconds - time);
  if (order.length) setView(order.reduce((best, i) => (far(i) < far(best) ? i : best)));
}));

all('.copy').forEach((button) => button.addEventListener('click', async () => {
  const command = button.parentElement.querySelector('pre');
  let copied = false;
  try {
    await navigator.clipboard.writeText(command.textContent);
    copied = true;
  } catch {
    getSelection().selectAllChildren(command); // stays selected if this does not copy either
    copied = document.execCommand('copy');
  }
  button.textContent = copied ? 'Copied' : 'Press Ctrl+C';
  text('said', copied ? 'The command is copied.' : 'The command is selected. Press Ctrl+C to copy it.');
  setTimeout(() => { button.textContent = 'Copy'; }, 2500);
}));

// Keys. They are left to the page where the pictures are out of sight, and to the control that has the focus.
document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || $('keys').open) return;
  const on = event.target, kind = on.tagName;
  if (kind === 'SELECT' || kind === 'SUMMARY') return;
  const box = stage.getBoundingClientRect(), moves = /^(Arrow|Page)/.test(event.key);
  if (box.bottom < 40 || box.top > innerHeight - 40) return;
  if (moves && (kind === 'INPUT' || on.closest('.rows, pre'))) return;
  if ((event.key === ' ' || event.key === 'Enter') && kind === 'BUTTON') return;
  const digit = /^Digit([1-9])$/.exec(event.code) ?? /^Numpad([1-9])$/.exec(event.code);
  if (act(event, digit && +digit[1] - 1)) event.preventDefault();
});

function act(event, column) {
  if (column !== null && column < count) {
    choose(event.shiftKey ? 'a' : state.mode === 'single' ? state.front : 'b', column);
    return true;
  }
  const move = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
  if (move && event.shiftKey) {
    pan(move[0] * 60, move[1] * 60);
    return true;
  }
  switch (event.key) {
    case 'ArrowLeft': case 'ArrowRight':
      if (state.mode !== 'split') return false;
      state.split = clamp(state.split + (event.key === 'ArrowLeft' ? -0.02 : 0.02), 0, 1);
      place();
      return true;
    case 'ArrowUp': case 'PageUp': case 'ArrowDown': case 'PageDown':
      setView(state.view + (/Up$/.test(event.key) ? -1 : 1));
      return data.views.length > 1;
    case ' ': blink(); return true;
    case 'd': setMode(state.mode === 'difference' ? (state.before === 'difference' ? 'split' : state.before) : 'difference'); return true;
    case 's': setMode(state.mode === 'side' ? (state.before === 'side' ? 'split' : state.before) : 'side'); return true;
    case '+': case '=': step(true); return true;
    case '-': case '_': step(false); return true;
    case '0': fitAll(); return true;
    case '?': $('keys').showModal(); return true;
    default: return false;
  }
}

new ResizeObserver(() => place()).observe(stage);
addEventListener('resize', () => place());
addEventListener('DOMContentLoaded', () => show()); // pictures that were not there yet
describe();
show();
say();
})();
