// Choices: the columns, the way to compare them, the view and the frame; what controls show and what is said.
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
