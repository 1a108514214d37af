# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The page itself: one HTML text, which needs no other host."""
from collections.abc import Sequence
from html import escape

from srdensenet_mm.benchmark.page_parts import SLIDER, STAGE, STYLE

from .jobs import ANY_SCALE


def to_html(titles: Sequence[str], any_scale: Sequence[bool]) -> str:
    """The page.

    Args:
        titles (Sequence[str]): Of the weights to choose from.
        any_scale (Sequence[bool]): Whether they upscale by any factor.
    """
    options = ''.join(
        f'<option value="{i}"{" data-any" * takes_any}>{escape(title)}</option>'
        for i, (title, takes_any) in enumerate(zip(titles, any_scale, strict=True)))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>SRDenseNet: upscale an image</title>
<link rel="icon" href="data:,">
<style>{STYLE}{_STYLE}</style>
</head>
<body>
<main>
<h1>Upscale an image</h1>
<p class="muted">SRDenseNet beside bicubic interpolation. The image stays on the machine that runs
this page.</p>
<div class="controls">
<label>Weights <select id="weights">{options}</select></label>
<label id="times" hidden>Times larger <input type="number" id="scale" min="1" step="any"
 value="{ANY_SCALE}" required></label>
<label class="check"><span><input type="checkbox" id="ensemble"> Self-ensemble</span>
<small>slightly better, 8 times slower</small></label>
</div>
<label class="drop" id="drop"><input type="file" id="file">
<b>Drop an image here, or choose one</b>
<small>PNG, JPEG, TIFF, WebP, ...; 8 or 16 bits, with or without transparency</small></label>
<div id="busy" hidden><div class="busy"><progress id="progress" max="1"></progress>
<button type="button" id="cancel">Cancel</button></div>
<p class="muted" id="doing" role="status"></p></div>
<p class="error" id="error" role="alert" hidden></p>
<section id="result" hidden>
<div class="controls">
<a class="button" id="download" href="#">Download PNG</a>
<label>Size <select id="zoom"><option value="fit">fit</option><option value="1">1:1</option>
<option value="2">2:1</option><option value="4">4:1</option></select></label>
</div>
<div id="comparison">
{STAGE}
</div>
<p class="muted" id="notes"></p>
</section>
<noscript>This page needs JavaScript.</noscript>
</main>
<script>{SLIDER}{_SCRIPT}</script>
</body>
</html>
"""


_STYLE = """
[hidden] { display: none !important; }
.controls { align-items: flex-end; margin: 16px 0 12px; }
.controls .check span { color: var(--ink); font-size: 1rem; }
.drop { display: flex; flex-direction: column; align-items: center; gap: 4px; padding: 28px 16px;
  border: 2px dashed #b9c3cd; border-radius: 8px; background: var(--soft); cursor: pointer;
  text-align: center; }
.drop.over, .drop:hover { border-color: var(--accent); }
.drop input { position: absolute; opacity: 0; width: 1px; height: 1px; }
.drop:focus-within { outline: 3px solid #7db2f0; outline-offset: 2px; }
small { color: var(--muted); font-size: .85rem; }
.busy { display: flex; align-items: center; gap: 12px; margin-top: 16px; }
input[type=number] { font: inherit; color: var(--ink); padding: 6px 8px; width: 6em;
  border: 1px solid #b9c3cd; border-radius: 6px; }
progress { flex: 1; height: 14px; accent-color: var(--accent); }
button, .button { font: inherit; padding: 6px 14px; border: 1px solid #b9c3cd; border-radius: 6px;
  background: #fff; color: var(--ink); cursor: pointer; text-decoration: none; }
.button { background: var(--accent); border-color: var(--accent); color: #fff; }
.error { margin-top: 16px; padding: 10px 14px; border: 1px solid #e0a3a3; border-radius: 8px;
  background: #fdf1f1; color: #8c1d18; overflow-wrap: anywhere; max-width: none; }
/* Transparency shows as a chequerboard, below both images alike. */
.pair { background: repeating-conic-gradient(#d5dbe1 0% 25%, #fff 0% 50%) 0 0 / 16px 16px; }
.pair img { background: inherit; }
@media (max-width: 560px) {
  .controls { grid-template-columns: 1fr; } .button { text-align: center; } }
"""

_SCRIPT = """
const {size, slide} = makeSlider(() => 'bicubic');
let file = null, job = null, turn = 0, shape = [1, 1];

const resize = () => size(shape[0], shape[1], byId('zoom').value);
const pause = milliseconds => new Promise(resolve => setTimeout(resolve, milliseconds));

function caption(element, name, text) {
  const title = document.createElement('b');
  title.textContent = name;
  element.replaceChildren(title, text);
}

async function ask(address, options) {
  let answer;
  try {
    answer = await fetch(address, options);
  } catch {
    throw new Error('the program behind this page does not answer: is it still running?');
  }
  const content = await answer.json().catch(() => ({error: 'status ' + answer.status}));
  if (!answer.ok) throw new Error(content.error);
  return content;
}

function fail(message) {
  byId('busy').hidden = true;
  byId('error').textContent = 'error: ' + message;
  byId('error').hidden = false;
}

function forget() {
  if (job !== null) fetch('jobs/' + job, {method: 'DELETE'}).catch(() => {});
  job = null;
  turn += 1;  // answers to what was asked before are of no use any more
}

async function loaded(image, address) {
  image.src = address;
  await image.decode();
}

async function upscale() {
  if (file === null) return;
  forget();
  const mine = turn, begin = Date.now();
  const weights = byId('weights'), title = weights.selectedOptions[0].textContent;
  const ensemble = byId('ensemble').checked;
  const scale = byId('times').hidden ? {} : {scale: byId('scale').value};
  byId('error').hidden = byId('result').hidden = true;
  byId('busy').hidden = false;
  byId('progress').removeAttribute('value');
  byId('doing').textContent = file.name + ': sending';
  try {
    const query = new URLSearchParams({name: file.name, weights: weights.value,
      self_ensemble: ensemble ? 1 : 0, ...scale});
    const key = (await ask('jobs?' + query, {method: 'POST', body: file})).job;
    if (mine !== turn) {
      fetch('jobs/' + key, {method: 'DELETE'}).catch(() => {});
      return;
    }
    job = key;
    let state;
    for (let wait = 50; ; wait = Math.min(500, wait * 1.3)) {
      state = await ask('jobs/' + key);
      if (mine !== turn) return;
      if (!['waiting', 'running'].includes(state.state)) break;
      // Of one tile nothing is known before it ends.
      if (state.progress > 0) byId('progress').value = state.progress;
      byId('doing').textContent = file.name + ': ' + (state.state === 'waiting'
        ? 'waiting for an earlier image'
        : Math.round((Date.now() - begin) / 1000) + ' s'
          + (state.progress ? ', ' + Math.round(100 * state.progress) + ' %' : ''));
      await pause(wait);
    }
    if (state.state === 'failed') throw new Error(state.error);
    if (state.state !== 'done') return;
    byId('doing').textContent = file.name + ': showing';
    const notes = [...state.notes];
    byId('comparison').hidden = false;
    try {
      await Promise.all([loaded(byId('over'), 'jobs/' + key + '/bicubic.png'),
        loaded(byId('under'), 'jobs/' + key + '/upscaled.png')]);
    } catch {
      notes.push('The result is too large for this browser to show; the download has it all.');
      byId('comparison').hidden = true;
    }
    if (mine !== turn) return;
    shape = state.size;
    byId('over').alt = file.name + ', bicubic';
    byId('under').alt = file.name + ', SRDenseNet';
    caption(byId('left-caption'), 'Bicubic', '');
    caption(byId('right-caption'), title + (ensemble ? ', self-ensemble' : ''),
      shape[0] + ' x ' + shape[1] + ' pixels');
    byId('download').href = 'jobs/' + key + '/upscaled.png?download=1';
    byId('notes').textContent = notes.join(' ');
    byId('busy').hidden = true;
    byId('result').hidden = false;
    resize();
    slide();
  } catch (error) {
    if (mine === turn) fail(error.message);
  }
}

function choose() {
  byId('times').hidden = !('any' in byId('weights').selectedOptions[0].dataset);
  if (byId('times').hidden || byId('scale').reportValidity()) upscale();
}

function take(files) {
  if (!files.length) return;
  file = files[0];
  choose();
}

byId('file').addEventListener('change', event => {
  take([...event.target.files]);
  event.target.value = '';  // the same file again is a change as well
});
for (const name of ['weights', 'scale', 'ensemble']) byId(name).addEventListener('change', choose);
byId('zoom').addEventListener('change', resize);
byId('cancel').addEventListener('click', () => {
  forget();
  byId('busy').hidden = true;
});
// Anywhere on the page: a file that misses the field would replace the page.
addEventListener('dragover', event => {
  event.preventDefault();
  byId('drop').classList.add('over');
});
addEventListener('dragleave', () => byId('drop').classList.remove('over'));
addEventListener('drop', event => {
  event.preventDefault();
  byId('drop').classList.remove('over');
  take([...event.dataTransfer.files]);
});
addEventListener('resize', resize);
choose();
document.documentElement.dataset.ready = 'true';
"""
