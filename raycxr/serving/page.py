"""A page to drop a film on, which shows what was found."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from raycxr.html_document import html_document

_STYLE = """
#drop { display: block; border: 2px dashed #8888; border-radius: 10px; padding: 2.5rem 1rem; text-align: center;
        cursor: pointer; }
#drop.over { border-color: #56b4e9; background: #56b4e922; }
#drop:focus-within { outline: 2px solid #56b4e9; }
#file { position: absolute; opacity: 0; width: 1px; height: 1px; }
#told { min-height: 1.6rem; margin: 1rem 0 .5rem; } #told.failed { color: #d55e00; }
#result { display: grid; grid-template-columns: minmax(0, 2fr) minmax(15rem, 1fr); gap: 1.5rem; align-items: start; }
@media (max-width: 50rem) { #result { grid-template-columns: 1fr; } }
[hidden] { display: none !important; }
"""
_SCRIPT = """
const drop = document.getElementById('drop'), file = document.getElementById('file');
const told = document.getElementById('told'), result = document.getElementById('result');
let turn = 0;
function tell(text, failed) { told.textContent = text; told.className = failed ? 'failed' : ''; }
async function ask(film, format) {
  const answer = await fetch('predict?format=' + format, {method: 'POST', body: film,
    headers: {'Content-Type': 'application/octet-stream'}});
  if (!answer.ok) {
    let error = {message: 'the server answers ' + answer.status, remedy: ''};
    try { error = (await answer.json()).error; } catch (_) {}
    throw new Error(error.message + (error.remedy ? ': ' + error.remedy : ''));
  }
  return answer;
}
async function show(film) {
  const mine = ++turn;
  result.hidden = true;
  tell('Looking at ' + film.name + ' …');
  try {
    const found = await (await ask(film, 'json')).json();
    const picture = await (await ask(film, 'overlay')).blob();
    if (mine !== turn) return;
    const image = document.getElementById('picture');
    URL.revokeObjectURL(image.src);
    image.src = URL.createObjectURL(picture);
    image.alt = film.name + ' with the outlines of what was found';
    const rows = document.getElementById('rows');
    rows.replaceChildren(...Object.entries(found.structures).map(([name, values]) => {
      const row = document.createElement('tr');
      const share = values.pixels ? (100 * values.share).toFixed(1) + ' %' : 'none';
      for (const text of [name, share]) {
        const cell = document.createElement('td');
        cell.textContent = text;
        row.append(cell);
      }
      return row;
    }));
    tell(film.name + ', ' + found.width + ' x ' + found.height + ' pixels');
    result.hidden = false;
  } catch (error) {
    if (mine === turn) tell(error.message, true);
  }
}
file.addEventListener('change', () => { if (file.files[0]) show(file.files[0]); file.value = ''; });
for (const name of ['dragover', 'dragenter']) drop.addEventListener(name, (event) => {
  event.preventDefault(); drop.classList.add('over'); });
for (const name of ['dragleave', 'drop']) drop.addEventListener(name, () => drop.classList.remove('over'));
drop.addEventListener('drop', (event) => {
  event.preventDefault();
  if (event.dataTransfer.files[0]) show(event.dataTransfer.files[0]);
});
"""


def page(title: str, classes: Sequence[str]) -> str:
    """Return the page: what the network is, and the structures that it finds."""
    body = f"""<h1>{escape(", ".join(classes))}</h1>
<p class="about">{escape(title)}. For research: not a medical device.</p>
<label id="drop">Drop a film here, or choose a file: DICOM, PNG, JPEG or GIF
<input id="file" type="file" accept=".dcm,.dicom,.png,.jpg,.jpeg,.gif,application/dicom,image/*"></label>
<p id="told" role="status" aria-live="polite"></p>
<div id="result" hidden>
<img id="picture" alt="">
<table><thead><tr><th scope="col">structure</th><th scope="col">share of the film</th></tr></thead>
<tbody id="rows"></tbody></table>
</div>
<script>{_SCRIPT}</script>"""
    return html_document(f"raycxr: {', '.join(classes)}", body, _STYLE)
