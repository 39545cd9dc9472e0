#!/usr/bin/python3
"""The report of `palmgrove eval` in a real browser (Debian's chromium), light and dark, wide and narrow.

    tests/conformance/report_in_browser.py [--report FILE] [--pictures DIR]

Without a FILE the demonstration's held-out cases are asked first, by a server of its own.  The page is measured by a script that is put
into a copy of it (the page itself has none and forbids any): nothing runs out of the window, every plot is visible and has ink
inside its frame, every image is loaded, text stands out from its ground.  --pictures keeps screenshots.  Skipped (77) without chromium."""
import argparse
import html
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import harness  # noqa: E402

N_CASES = 12
WIDTHS = (1280, 800, 420)
CONTRAST_LEAST = 4.5  # WCAG 2.2, level AA, for text of usual size

PROBE = """<pre id="probe"></pre><script>addEventListener('load', () => {
  const box = e => { const r = e.getBoundingClientRect(); return [r.left, r.top, r.width, r.height]; };
  const lum = c => { const v = c.match(/[\\d.]+/g).slice(0, 3).map(x => { x /= 255; return x <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4; });
    return .2126 * v[0] + .7152 * v[1] + .0722 * v[2]; };
  const ground = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (!/, 0\\)$/.test(c)) return c; } return 'rgb(255,255,255)'; };
  const contrast = e => { const a = lum(getComputedStyle(e).color), b = lum(ground(e)); return (Math.max(a, b) + .05) / (Math.min(a, b) + .05); };
  const plots = [...document.querySelectorAll('figure.plot svg')].map(s => { const f = box(s);
    const inside = [...s.querySelectorAll('rect,circle,polyline,line,text')].every(e => { const r = box(e);
      return r[0] >= f[0] - 2 && r[1] >= f[1] - 2 && r[0] + r[2] <= f[0] + f[2] + 2 && r[1] + r[3] <= f[1] + f[3] + 2; });
    return {title: s.parentElement.querySelector('h4').textContent, box: f, ink: s.querySelectorAll('rect,circle,polyline').length, inside}; });
  const spills = [...document.querySelectorAll('main *')].filter(e => !e.closest('.wide') && !e.closest('svg') &&
    (e.getBoundingClientRect().right > document.documentElement.clientWidth + 1)).map(e => e.tagName + '.' + e.className).slice(0, 5);
  document.getElementById('probe').textContent = JSON.stringify({dark: matchMedia('(prefers-color-scheme: dark)').matches,
    width: innerWidth, overflow: document.documentElement.scrollWidth - innerWidth, spills, plots,
    strips: [...document.querySelectorAll('svg.strip')].filter(s => box(s)[2] < 20).length,
    images: [...document.images].map(i => [i.naturalWidth, i.naturalHeight, box(i)[2]]),
    contrast: Math.min(...[...document.querySelectorAll('p,td,th,dd,dt,figcaption,h1,h2,h3,h4,a,code,.tag')].filter(e => e.textContent.trim()).map(contrast)),
    height: document.documentElement.scrollHeight}); });</script>"""


def browser(*arguments):
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        print("SKIPPED: the report was not looked at: there is no chromium", file=sys.stderr)
        sys.exit(77)
    command = [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-dev-shm-usage", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def scheme(dark):
    return f"--blink-settings=preferredColorScheme={0 if dark else 1}"


def measure(page, dark, width, folder):
    copy = pathlib.Path(folder) / "probe.html"
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text())
    # A window is never narrower than about 500 pixels, a frame is.
    copy.write_text(text.replace("</body>", PROBE + "</body>"))
    frame = pathlib.Path(folder) / "frame.html"
    frame.write_text(f'<iframe id="f" src="probe.html" style="width:{width}px;height:900px;border:0"></iframe><pre id="out"></pre><script>'
                     "setInterval(() => { const p = f.contentDocument.getElementById('probe'); if (p && p.textContent) out.textContent = p.textContent; }, 50)</script>")
    told = browser(scheme(dark), f"--user-data-dir={folder}/profile", "--allow-file-access-from-files", "--virtual-time-budget=8000", "--window-size=1400,1000",
                   "--dump-dom", frame.as_uri())
    found = re.search(r'<pre id="out">(.+?)</pre>', told, re.S)
    assert found, f"the browser measured nothing: {told[:500]}"
    return json.loads(html.unescape(found.group(1)))


def faults_of(seen, dark, width, n_images):
    faults = []
    if seen["dark"] != dark:
        faults.append("the colour scheme was not taken")
    if seen["overflow"] > 0 or seen["spills"]:
        faults.append(f"{seen['overflow']} pixels too wide: {seen['spills']}")
    if not seen["plots"]:
        faults.append("no plot")
    for plot in seen["plots"]:
        if plot["box"][2] < 150 or plot["box"][3] < 60 or plot["ink"] == 0 or not plot["inside"]:
            faults.append(f"plot {plot}")
    if seen["strips"]:
        faults.append(f"{seen['strips']} strips are not to be seen")
    if len(seen["images"]) != n_images or any(w == 0 or h == 0 or shown < 20 for w, h, shown in seen["images"]):
        faults.append(f"images {seen['images']}")
    if seen["contrast"] < CONTRAST_LEAST:
        faults.append(f"contrast {seen['contrast']:.2f}")
    return [f"{'dark' if dark else 'light'} {width}: {fault}" for fault in faults]


def make_report(folder):
    cases, out = pathlib.Path(folder) / "cases", pathlib.Path(folder) / "out"
    code, _, errors = harness.run_palmgrove("demo", "--cases", cases, "--n", N_CASES)
    assert code == 0, errors
    with harness.Server(1, 1) as server:
        code, _, errors = harness.run_palmgrove("eval", cases, "--endpoint", server.endpoint, "--output", out, "--bootstrap", 200, timeout=300)
    assert code == 0, errors
    return out / "report.html"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report", type=pathlib.Path)
    parser.add_argument("--pictures", type=pathlib.Path)
    options = parser.parse_args()
    browser("--version")
    with tempfile.TemporaryDirectory(prefix="palmgrove-browser-") as folder:
        page = options.report or make_report(folder)
        text = page.read_text()
        faults = [f"the page reaches out: {found}" for found in re.findall(r"<script|<link|\shref=\"(?!#)[^\"]*|\ssrc=\"(?!data:)[^\"]*|url\(", text)]
        for dark in (False, True):
            for width in WIDTHS:
                seen = measure(page, dark, width, folder)
                faults += faults_of(seen, dark, width, text.count("<img "))
                if options.pictures is not None:
                    options.pictures.mkdir(parents=True, exist_ok=True)
                    picture = options.pictures / f"report-{'dark' if dark else 'light'}-{width}.png"
                    browser(scheme(dark), f"--user-data-dir={folder}/profile", f"--window-size={max(width, 500)},{min(seen['height'], 6000)}", f"--screenshot={picture}", page.resolve().as_uri())
    print(f"report in chromium, {2 * len(WIDTHS)} views, {len(seen['plots'])} plots, {len(seen['images'])} images: {len(faults)} faults")
    print("".join(f"  {fault}\n" for fault in faults), end="")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
