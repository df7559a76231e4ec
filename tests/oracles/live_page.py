"""Drives the daemon's live page in Debian's Chromium and prints what it showed.

live_page.py URL FIFO COLUMNS ROWS PID PICTURES
The daemon has three streams: `carm` (can spin), `grabber` (frames that this script writes into FIFO) and `old` (a
recording that has ended). At the end PID, the daemon, is killed.
"""

import json
import os
import signal
import struct
import sys
import threading
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

url, fifo, columns, rows, pid, pictures = sys.argv[1:]
columns, rows, pictures = int(columns), int(rows), Path(pictures)
pictures.mkdir(parents=True, exist_ok=True)


class Grabber(threading.Thread):
    """Writes frames at 25 a second: a ramp along the columns, brighter from row to row."""

    def __init__(self):
        super().__init__(daemon=True)
        self.pipe = os.open(fifo, os.O_RDWR)
        counts = [1000 + 40 * u + 10 * v for v in range(rows) for u in range(columns)]
        self.frame = struct.pack(f"<{len(counts)}H", *counts)
        self.runs = threading.Event()
        self.runs.set()

    def run(self):
        while True:
            self.runs.wait()
            left = memoryview(self.frame)
            while left:
                left = left[os.write(self.pipe, left) :]
            time.sleep(0.04)


grabber = Grabber()
grabber.start()
seen = {}
with sync_playwright() as playwright:
    browser = playwright.chromium.launch(
        executable_path="/usr/bin/chromium",
        args=["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"],
    )
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    errors, foreign = [], []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith((url, "data:")) else foreign.append(request.url))
    page.goto(url)

    def wait_until(expression):
        """Asks from outside: the page's own policy forbids it to evaluate text."""
        deadline = time.monotonic() + 20
        while not page.evaluate(f"() => Boolean({expression})"):
            if time.monotonic() > deadline:
                page.screenshot(path=pictures / "failed.png")
                raise SystemExit(f"never came: {expression}; errors: {errors}; {page.locator('aside').inner_text()}")
            time.sleep(0.01)

    def wait_for_state(text):
        wait_until(f"document.getElementById('state-name').textContent === '{text}'")

    def number(identifier):
        return page.locator(f"#{identifier}").text_content()

    def choose(stream):
        page.select_option("#stream", stream)

    # The virtual C-arm: live, a spin from arming to its end, its recording in the list.
    page.wait_for_selector("#stream option[value=carm]", state="attached")
    choose("carm")
    wait_for_state("LIVE")
    wait_until("Number(document.querySelector('[data-count=shown]').textContent.replace(/,/g, '')) > 5")
    page.screenshot(path=pictures / "live.png")

    # Stages at run time, each stated by the image itself: an unmoved body leaves nothing of itself but even grey.
    def press(name):
        """Presses a button and waits, as a person would, until it shows that it is."""
        was = page.get_attribute(f"[data-stage={name}]", "aria-pressed")
        page.click(f"[data-stage={name}]")
        wait_until(f"document.querySelector('[data-stage={name}]').ariaPressed !== '{was}'")

    def stages_say(text):
        wait_until(f"document.getElementById('stages').textContent.includes('{text}')")

    press("subtraction")
    stages_say("subtraction; mask of 4, shifted by up to 0.")
    wait_until("document.querySelector('[data-stage=subtraction]').ariaPressed === 'true'")
    seen["subtracted"] = page.evaluate("Array.from(window.isocenterView.image.counts)")
    page.screenshot(path=pictures / "subtracted.png")
    page.click("#remask")
    stages_say("subtraction; mask of 4")
    press("roadmap")
    stages_say("roadmap; mask of 4")
    press("roadmap")
    press("subtraction")
    wait_until("!document.getElementById('stages').textContent.includes('mask')")
    press("enhancement")
    stages_say("enhancement")
    press("noise_reduction")
    wait_until("!document.getElementById('stages').textContent.includes('noise')")
    page.screenshot(path=pictures / "enhanced.png")
    press("enhancement")
    press("noise_reduction")
    stages_say("noise reduction, automatic window")
    wait_until("!document.getElementById('stages').textContent.includes('enhancement')")

    page.click("#spin-arm")
    wait_until("document.getElementById('spin-state').textContent === 'armed'")
    page.click("#spin-start")
    wait_until("document.getElementById('spin-state').textContent === 'rotating'")
    wait_until("document.getElementById('spin-progress').value > 0.3")
    page.screenshot(path=pictures / "spin.png")
    wait_until("document.getElementById('spin-state').textContent === 'complete'")
    seen["spin"] = number("spin-detail")
    wait_until("document.getElementById('runs').textContent.includes('-spin')")

    # The grabber: the picture is what was sent, black to white by the window; recording; stall and return.
    choose("grabber")
    wait_for_state("LIVE")
    wait_until("window.isocenterView.image && window.isocenterView.image.columns === %d" % columns)
    sent = struct.unpack(f"<{columns * rows}H", grabber.frame)
    seen["counts_equal"] = page.evaluate("Array.from(window.isocenterView.image.counts)") == list(sent)
    page.click("#linear")
    page.fill("#low", "1000")
    page.fill("#high", "2000")
    page.wait_for_timeout(300)
    pixels = page.evaluate(
        """() => { const gl = window.isocenterView.screen.gl, [w, h] = [gl.drawingBufferWidth, gl.drawingBufferHeight];
        const bytes = new Uint8Array(4 * w * h); gl.readPixels(0, 0, w, h, gl.RGBA, gl.UNSIGNED_BYTE, bytes);
        return Array.from(bytes).filter((_, i) => i % 4 === 0); }"""
    )
    # WebGL counts rows from below.
    expected = [
        min(max((sent[(rows - 1 - v) * columns + u] - 1000) / 1000, 0), 1) * 255
        for v in range(rows)
        for u in range(columns)
    ]
    seen["worst_grey"] = max(abs(a - b) for a, b in zip(pixels, expected))
    page.click("#window-auto")
    page.click("#record-start")
    wait_until("document.getElementById('recording').dataset.state === 'on'")
    wait_until("Number(document.querySelector('[data-count=recorded]').textContent.replace(/,/g, '')) > 10")
    page.screenshot(path=pictures / "recording.png")
    page.click("#record-stop")
    wait_until("document.getElementById('recording').dataset.state === 'off'")
    grabber.runs.clear()
    silent = time.monotonic()
    wait_for_state("STALLED")
    seen["stalled_after_s"] = time.monotonic() - silent
    page.wait_for_timeout(600)
    page.screenshot(path=pictures / "stalled.png")
    grabber.runs.set()
    wait_for_state("LIVE")

    # The ended recording: its last image, said to be that.
    choose("old")
    wait_for_state("LAST IMAGE")
    page.screenshot(path=pictures / "last-image.png")

    # Latency and rate in the browser, on the stream that never pauses.
    choose("carm")
    wait_for_state("LIVE")
    page.wait_for_timeout(2500)
    seen["rate"], seen["latency"] = number("rate"), number("latency")
    drawn = page.evaluate("window.isocenterView.drawn")
    page.wait_for_timeout(2000)
    seen["drawn_per_s"] = (page.evaluate("window.isocenterView.drawn") - drawn) / 2

    os.kill(int(pid), signal.SIGKILL)
    killed = time.monotonic()
    wait_for_state("NO CONNECTION")
    seen["disconnected_after_s"] = time.monotonic() - killed
    page.screenshot(path=pictures / "disconnected.png")
    # The browser itself tells of requests that the killed daemon did not answer.
    seen["errors"] = [error for error in errors if "ERR_CONNECTION_REFUSED" not in error and "ERR_" not in error]
    seen["foreign_requests"] = foreign
    browser.close()
print(json.dumps(seen))
