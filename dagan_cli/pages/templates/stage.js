// The stage: which pictures are shown, and which part of them. `viewer.html` joins this file and the next two in one scope.
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
  const inset = end - start > 320 ? [start, box.width - end] : [0, 0]; // labels stand on the picture, if they fit
  $('left').style.left = `${inset[0] + 8}px`;
  $('right').style.right = `${inset[1] + 8}px`;
  for (const id of ['left', 'right']) $(id).style.maxWidth = `${(box.width - inset[0] - inset[1]) / (state.mode === 'split' ? 2 : 1) - 16}px`;
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
