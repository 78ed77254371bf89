// Input: pointers, controls and keys.
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

// The first sight.
new ResizeObserver(() => place()).observe(stage);
addEventListener('resize', () => place());
addEventListener('DOMContentLoaded', () => show()); // pictures that were not there yet
describe();
show();
say();
