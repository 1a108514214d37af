# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The style and the script of the benchmark's page; no other file or host is needed.

The page of ``srdensenet-mm app`` shares the style and the slider.
"""

STYLE = """
:root { --ink: #1d2733; --muted: #5b6877; --line: #dde3e9; --soft: #f5f7f9; --accent: #0b62c4; }
* { box-sizing: border-box; }
html { color-scheme: light; }
body { margin: 0; background: #fff; color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 24px 20px 48px; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 8px 0; }
h2 { font-size: 1.2rem; margin: 40px 0 12px; }
p { max-width: 75ch; margin: 8px 0; }
.muted { color: var(--muted); font-size: .9rem; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 8px 10px; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; }
tbody tr:last-child > * { border-bottom: 0; }
tbody tr:hover > * { background: var(--soft); }
tbody th { text-align: left; font-weight: 600; background: #fff; position: sticky; left: 0;
  white-space: normal; overflow-wrap: break-word; min-width: 230px; max-width: 340px; }
thead th { background: var(--soft); font-size: .85rem; font-weight: 600; padding: 4px;
  white-space: normal; vertical-align: bottom; }
thead th.group { text-align: center; padding: 8px 10px 0; color: var(--muted); border-bottom: 0; }
.edge { border-left: 1px solid var(--line); }
thead button { all: unset; box-sizing: border-box; display: block; width: 100%;
  padding: 4px 6px; border-radius: 4px; cursor: pointer; text-align: inherit; }
thead th:first-child button { text-align: left; }
thead button:hover { background: #e6ebf0; }
thead button::after { content: "\\00a0\\2195"; color: #a8b3be; }
thead th[aria-sort="ascending"] button::after { content: "\\00a0\\2191"; color: var(--accent); }
thead th[aria-sort="descending"] button::after { content: "\\00a0\\2193"; color: var(--accent); }
:focus-visible { outline: 3px solid #7db2f0; outline-offset: 2px; }
td.best { font-weight: 700; }
.plot { display: block; max-width: 100%; height: auto; }
.controls { display: flex; flex-wrap: wrap; gap: 12px 16px; margin-bottom: 12px; }
.controls label { display: flex; flex-direction: column; font-size: .85rem; color: var(--muted);
  min-width: 0; flex: 0 1 auto; }
select { font: inherit; color: var(--ink); padding: 6px 8px; border: 1px solid #b9c3cd;
  border-radius: 6px; background: #fff; max-width: 100%; }
.stage { overflow: auto; border: 1px solid var(--line); border-radius: 8px; background: var(--soft);
  max-height: 80vh; }
.pair { position: relative; margin: 0 auto; cursor: ew-resize; touch-action: pan-y;
  user-select: none; }
.pair img { position: absolute; inset: 0; width: 100%; height: 100%; display: block; }
.pair .divider { position: absolute; top: 0; bottom: 0; width: 2px; margin-left: -1px;
  background: #fff; box-shadow: 0 0 0 1px rgba(0, 0, 0, .45); pointer-events: none; }
.pixels img { image-rendering: pixelated; }
.captions { display: flex; justify-content: space-between; gap: 16px; margin: 8px 0 2px; }
.captions > :last-child { text-align: right; }
.captions b { display: block; overflow-wrap: anywhere; }
.position { width: 100%; margin: 0; accent-color: var(--accent); height: 28px; }
@media (max-width: 560px) { main { padding: 12px 12px 32px; } h1 { font-size: 1.35rem; }
  th, td { padding: 8px; } tbody th { min-width: 130px; max-width: 150px; font-size: .85rem; }
  .controls { display: grid; grid-template-columns: 1fr 1fr; } .controls select { width: 100%; } }
"""

STAGE = """<div class="stage" id="stage" tabindex="0" role="group"
 aria-label="Two images, compared">
<div class="pair" id="pair"><img id="under" alt=""><img id="over" alt="">
<div class="divider" id="divider"></div></div>
</div>
<div class="captions"><span id="left-caption"></span><span id="right-caption"></span></div>
<input class="position" id="position" type="range" min="0" max="100" value="50" step="1"
 aria-label="How much of the left image is shown">"""

SLIDER = """
'use strict';
const byId = id => document.getElementById(id);

// Two images on top of each other, the left one cut off at the slider.
function makeSlider(leftName) {
  const slider = byId('position'), pair = byId('pair'), stage = byId('stage');

  function size(width, height, zoom) {
    const fit = Math.min(stage.clientWidth / width, Math.max(320, innerHeight * .7) / height, 3);
    const factor = zoom === 'fit' ? fit : Number(zoom);
    pair.style.width = Math.floor(width * factor) + 'px';
    pair.style.height = Math.floor(height * factor) + 'px';
    pair.classList.toggle('pixels', zoom !== 'fit' && factor > 1);
  }

  function slide() {
    byId('over').style.clipPath = 'inset(0 ' + (100 - slider.value) + '% 0 0)';
    byId('divider').style.left = slider.value + '%';
    slider.setAttribute('aria-valuetext', slider.value + ' % ' + leftName());
  }

  slider.addEventListener('input', slide);
  const drag = event => {
    if (event.type === 'pointermove' && !event.buttons) return;
    const box = pair.getBoundingClientRect();
    const share = 100 * (event.clientX - box.left) / box.width;
    slider.value = Math.min(100, Math.max(0, share));
    slide();
  };
  pair.addEventListener('pointerdown', event => {
    pair.setPointerCapture(event.pointerId);
    drag(event);
  });
  pair.addEventListener('pointermove', drag);
  pair.addEventListener('dragstart', event => event.preventDefault());
  return {size, slide};
}
"""

SCRIPT = SLIDER + """
const state = new URLSearchParams(location.hash.slice(1));

function remember(key, value) {
  state.set(key, value);
  history.replaceState(null, '', '#' + state);
}

// The table: a click sorts by a column, a second one turns the order round.
const table = byId('table');
const heads = [...table.querySelectorAll('thead th.sort')];

function sortBy(column, direction) {
  const value = row => {
    const cell = row.cells[column];
    return column === 0 ? cell.textContent : cell.dataset.value === '' ? null
      : Number(cell.dataset.value);
  };
  const rows = [...table.tBodies[0].rows];
  const sign = direction === 'descending' ? -1 : 1;
  rows.sort((a, b) => {
    const x = value(a), y = value(b);
    if (x === null || y === null) return (x === null) - (y === null);  // unknown goes last
    return sign * (column === 0 ? x.localeCompare(y) : x - y);
  });
  table.tBodies[0].append(...rows);
  heads.forEach((head, i) => {
    if (i === column) head.setAttribute('aria-sort', direction);
    else head.removeAttribute('aria-sort');
  });
}

heads.forEach((head, column) => head.querySelector('button').addEventListener('click', () => {
  const now = head.getAttribute('aria-sort');
  const direction = now ? (now === 'ascending' ? 'descending' : 'ascending') : head.dataset.first;
  sortBy(column, direction);
  remember('sort', column + ':' + direction);
}));
const sorted = (state.get('sort') || '').match(/^(\\d+):(ascending|descending)$/);
if (sorted && heads[sorted[1]]) sortBy(Number(sorted[1]), sorted[2]);

// The pictures: two of them on top of each other, the left one cut off at the slider.
const pictures = JSON.parse(byId('pictures').textContent);

function fill(select, options, wanted) {
  select.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
  if (options.some(([value]) => value === wanted)) select.value = wanted;
}

function compare() {
  const choices = {picture: byId('picture'), left: byId('left'), right: byId('right'),
    zoom: byId('zoom')};
  const over = byId('over'), under = byId('under');
  const {size, slide} = makeSlider(() => choices.left.value);
  const versions = pictures[0].order;
  fill(choices.picture, pictures.map(p => [p.id, p.id]), state.get('picture'));
  fill(choices.left, versions.map(v => [v, v]), state.get('left') || versions[0]);
  fill(choices.right, versions.map(v => [v, v]), state.get('right') || versions[1]);
  if (['fit', '1', '2', '4'].includes(state.get('zoom'))) choices.zoom.value = state.get('zoom');

  const current = () => pictures.find(p => p.id === choices.picture.value);

  function caption(element, picture, version) {
    const name = document.createElement('b');
    name.textContent = version;
    const psnr = picture.versions[version].psnr;
    element.replaceChildren(name, psnr === null ? 'the original' : 'PSNR (Y) ' + psnr + ' dB');
  }

  function show() {
    const picture = current(), left = choices.left.value, right = choices.right.value;
    over.src = picture.versions[left].source;
    over.alt = picture.id + ', ' + left;
    under.src = picture.versions[right].source;
    under.alt = picture.id + ', ' + right;
    caption(byId('left-caption'), picture, left);
    caption(byId('right-caption'), picture, right);
    resize();
    slide();
  }

  const resize = () => size(current().width, current().height, choices.zoom.value);

  for (const [key, select] of Object.entries(choices)) {
    select.addEventListener('change', () => { remember(key, select.value); show(); });
  }
  addEventListener('resize', resize);
  show();
}

if (pictures.length) compare();
document.documentElement.dataset.ready = 'true';
"""
