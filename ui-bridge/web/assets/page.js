// The live page. Images and status come on one WebSocket; what is old is never shown as live, whatever the daemon says
// or does not say any more.

import { Screen } from "/screen.js";

const HEADER_BYTES = 72;
const SILENCE_MS = 1000; // without any message for so long the daemon counts as gone: its status comes every 200 ms
const STAGES = ["correction", "noise reduction", "automatic window", "enhancement", "subtraction", "peak opacification", "roadmap", "last-image hold"];
const STAGE_BITS = { noise_reduction: 1, enhancement: 3, subtraction: 4, peak_opacification: 5, roadmap: 6 };
const SUBTRACTING = 0b1110000;
const at = (id) => document.getElementById(id);

const view = {
  stream: null, socket: null, screen: new Screen(at("image")),
  image: null, fresh: false, status: null,
  statusAt: 0, lastMessage: 0, lastImage: 0, arrivals: [], drawn: 0,
  auto: true, low: 0, high: 65535, linear: false, inverted: false,
};
window.isocenterView = view; // for tests and for curious people

// ---- what comes in

function connect(stream) {
  if (view.socket) view.socket.onclose = null, view.socket.close();
  view.stream = stream;
  const socket = new WebSocket(`ws://${location.host}/ws/live/${encodeURIComponent(stream)}`);
  socket.binaryType = "arraybuffer";
  socket.onmessage = (event) => {
    view.lastMessage = performance.now();
    if (typeof event.data === "string") [view.status, view.statusAt] = [JSON.parse(event.data), view.lastMessage];
    else receive(event.data);
  };
  socket.onclose = () => setTimeout(() => view.socket === socket && connect(stream), 500);
  view.socket = socket;
}

function receive(data) {
  const words = new DataView(data);
  if (words.getUint32(0, true) !== 0x464f5349 || words.getUint16(4, true) !== 1) return;
  const start = words.getUint16(6, true);
  const [columns, rows] = [words.getUint32(8, true), words.getUint32(12, true)];
  if (start < HEADER_BYTES || data.byteLength !== start + 2 * columns * rows) return;
  view.image = {
    columns, rows,
    sequence: words.getBigUint64(16, true),
    arrivedMs: Number(words.getBigUint64(40, true)) / 1e6,
    window: [words.getUint16(48, true), words.getUint16(50, true)],
    stages: words.getUint8(52), maskFrames: words.getUint8(53), maskShiftPx: words.getUint16(54, true) / 256,
    counts: new Uint16Array(data, start, columns * rows),
  };
  view.lastImage = performance.now();
  view.arrivals.push(view.lastImage);
  while (view.arrivals[0] < view.lastImage - 2000) view.arrivals.shift();
  view.fresh = true;
}

// ---- what is shown

function draw() {
  requestAnimationFrame(draw);
  if (view.fresh) {
    view.fresh = false;
    if (view.auto) setWindow(...view.image.window);
    view.screen.draw(view.image, view);
    view.drawn += 1;
    // Both clocks are this machine's: the page is only served on loopback.
    view.latencyMs = Date.now() - view.image.arrivedMs;
  }
  tell();
}

// LIVE only while images come and the daemon says that they are what the detector sees now.
function state() {
  const now = performance.now();
  if (now - view.lastMessage > SILENCE_MS) return ["disconnected", "NO CONNECTION", "the daemon does not answer"];
  const status = view.status;
  if (!status || status.live === "waiting") return ["waiting", "WAITING", status?.device_reason || "no image yet"];
  if (status.live === "last-image") return ["last-image", "LAST IMAGE", "X-rays are off"];
  const periodMs = 1000 / status.shape.frame_rate_hz;
  // An image that came after the word of a stall ends it.
  const isToldStalled = status.live === "stalled" && view.lastImage < view.statusAt;
  if (isToldStalled || now - view.lastImage > 2 * periodMs + 100) {
    return ["stalled", "STALLED", status.device_reason || "images are due and do not come"];
  }
  return ["live", "LIVE", ""];
}

// What made the image, as the image itself says; asked for and not yet there is a mask.
function stagesOf(image) {
  const ran = STAGES.filter((_, bit) => image.stages & (1 << bit)).join(", ") || "none: raw counts";
  if (image.stages & SUBTRACTING) return `${ran}; mask of ${image.maskFrames}, shifted by up to ${image.maskShiftPx.toFixed(1)} px`;
  return view.status && view.status.stages & SUBTRACTING ? `${ran}; mask: ${image.maskFrames} frames so far` : ran;
}

function tellStages(asked) {
  for (const button of document.querySelectorAll("[data-stage]")) {
    button.setAttribute("aria-pressed", Boolean(asked & (1 << STAGE_BITS[button.dataset.stage])));
  }
  at("remask").disabled = !(asked & SUBTRACTING);
}

let told = 0;
function tell() {
  const [name, title, detail] = state();
  if (at("state").dataset.state !== name || at("state-detail").textContent !== detail) {
    at("state").dataset.state = name;
    at("image").dataset.state = name;
    at("state-name").textContent = title;
    at("state-detail").textContent = detail;
  }
  if (performance.now() - told < 100) return;
  told = performance.now();
  const { status, image } = view;
  const ageMs = image ? Date.now() - image.arrivedMs : null;
  at("age").textContent = ageMs === null ? "–" : ageMs < 2000 ? `${ageMs.toFixed(0)} ms` : `${(ageMs / 1000).toFixed(1)} s`;
  at("sequence").textContent = image ? image.sequence.toString() : "–";
  at("latency").textContent = view.latencyMs === undefined ? "–" : `${view.latencyMs.toFixed(1)} ms`;
  const recent = view.arrivals.filter((arrival) => arrival > told - 2000);
  at("rate").textContent = recent.length > 1 ? `${((recent.length - 1) * 1000 / (recent.at(-1) - recent[0])).toFixed(1)} /s` : "0 /s";
  at("stages").textContent = image ? stagesOf(image) : "–";
  if (!status) return;
  const ms = (value) => value === null ? "–" : value.toFixed(1);
  at("daemon-latency").textContent = `${ms(status.latency_p50_ms)} / ${ms(status.latency_p99_ms)} ms`;
  for (const cell of document.querySelectorAll("[data-count]")) {
    const count = status.ledger[cell.dataset.count];
    cell.textContent = count.toLocaleString("en");
    cell.dataset.some = count > 0;
  }
  const shape = status.shape ? `${status.shape.nu} × ${status.shape.nv}, ${status.shape.frame_rate_hz} /s` : "";
  at("device").textContent = `${status.identity.filter(Boolean).join(" ")} ${shape} (${status.device})`;
  tellStages(status.stages);
  tellRecording(status.recording);
  tellDose(status.dose);
  tellSpin(status);
}

function tellRecording(recording) {
  at("recording").dataset.state = recording.state;
  at("recording").textContent = recording.state === "on" ? recording.run : recording.state === "failed" ? `failed: ${recording.reason}` : "off";
  at("record-start").disabled = recording.state === "on";
  at("record-stop").disabled = recording.state === "off";
}

function tellSpin({ can_spin, spin }) {
  at("spin-section").hidden = !can_spin;
  at("spin-state").textContent = spin.phase;
  tellVerdict(spin.verdict);
  const planned = spin.planned_views ? `${spin.views} of ${spin.planned_views} views, ${spin.arc_deg.toFixed(1)}° of ${spin.planned_arc_deg.toFixed(1)}°` : "";
  at("spin-detail").textContent = [planned, spin.reason].filter(Boolean).join("; ");
  at("spin-progress").value = spin.planned_views ? Math.min(1, spin.views / spin.planned_views) : 0;
  const busy = ["arming", "armed", "rotating"].includes(spin.phase);
  at("spin-arm").disabled = busy;
  at("spin-start").disabled = spin.phase !== "armed";
  at("spin-abort").disabled = !["armed", "rotating"].includes(spin.phase);
}

function tellVerdict(verdict) {
  const rows = verdict ? [element("li", `Advice: ${verdict.advice}`)] : [];
  if (verdict) rows[0].dataset.advice = verdict.advice;
  for (const { what, value, unit, advice } of verdict?.findings ?? []) {
    const row = element("li", `${what}: ${value === null ? "not told" : `${value.toFixed(2)} ${unit}`}`);
    row.dataset.advice = advice;
    rows.push(row);
  }
  at("verdict").replaceChildren(...rows);
}

function tellDose(dose) {
  at("dose-section").hidden = !dose;
  if (!dose) return;
  at("kerma-rate").textContent = `${dose.air_kerma_rate_mgy_per_min.toFixed(2)} mGy/min`;
  at("kerma").textContent = `${dose.air_kerma_mgy.toFixed(2)} mGy`;
  at("dap").textContent = `${dose.dose_area_product_gy_cm2.toFixed(3)} Gy cm²`;
  const seconds = Math.floor(dose.fluoroscopy_s);
  at("fluoroscopy").textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  at("dose-note").textContent = dose.frames_without_exposure ? `${dose.frames_without_exposure} frames without a reported exposure are not in these figures.` : "";
  at("signal-reset").hidden = !dose.is_signal_on;
}

// ---- what is asked for now and then: runs, jobs, alarms, disk

async function look() {
  try {
    const [status, runs] = await Promise.all(["/api/status", "/api/runs"].map((path) => fetch(path).then((reply) => reply.json())));
    tellStreams(status.streams.map((stream) => stream.name));
    at("disk").textContent = status.free_bytes === null ? "" : `${(status.free_bytes / 1e9).toFixed(1)} GB free`;
    fill(at("jobs"), status.jobs.slice(-5).reverse(), jobRow);
    fill(at("alarms"), status.alarms.slice(-6).reverse(), alarmRow);
    fill(at("runs"), runs.slice(-20).reverse(), runRow);
  } catch {
    // The state above says that the daemon does not answer.
  }
  setTimeout(look, 1000);
}

function tellStreams(names) {
  const select = at("stream");
  if ([...select.options].map((option) => option.value).join() !== names.join()) {
    select.replaceChildren(...names.map((name) => new Option(name, name)));
  }
  if (!view.stream && names.length) connect(names[0]);
}

function fill(list, items, row) {
  list.replaceChildren(...(items.length ? items.map(row) : [element(list.tagName === "TBODY" ? "tr" : "li", "none")]));
}

function element(tag, text, children = []) {
  const made = document.createElement(tag);
  made.textContent = text;
  made.append(...children);
  return made;
}

function button(text, path, disabled = false) {
  const made = element("button", text);
  made.disabled = disabled;
  made.onclick = () => post(path);
  return made;
}

function jobRow(job) {
  const progress = job.state === "running" && job.all ? ` ${Math.round(100 * job.done / job.all)} %` : "";
  const version = job.state === "running" && job.result ? "first version, being refined: " : "";
  const row = element("li", `${job.kind} ${job.run}: ${job.state}${progress} ${version}${job.error ?? job.result ?? ""} `);
  if (["waiting", "running"].includes(job.state)) row.append(button("Cancel", `/api/jobs/${job.id}/cancel`));
  return row;
}

function alarmRow(alarm) {
  const row = element("li", `${new Date(alarm.raised_unix_ns / 1e6).toLocaleTimeString("en-GB")} ${alarm.stream} ${alarm.kind}: ${alarm.text}`);
  row.dataset.active = alarm.cleared_unix_ns === 0;
  return row;
}

function runRow(run) {
  const stateText = typeof run.state === "string" ? run.state : `faulted: ${run.state.faulted}`;
  const unread = stateText === "stored";
  const cells = [run.id, stateText, new Date(run.started_unix_ns / 1e6).toLocaleString("en-GB"), unread ? "" : run.frames, unread ? "" : run.lost, run.bytes ? `${(run.bytes / 1e6).toFixed(1)} MB` : ""];
  const row = element("tr", "", cells.map((text) => element("td", text)));
  const action = element("td", "");
  const path = `/api/runs/${encodeURIComponent(run.id)}`;
  const keep = button(run.is_kept ? "Kept" : "Keep", `${path}/keep/${run.is_kept ? "no" : "yes"}`);
  keep.setAttribute("aria-pressed", run.is_kept);
  keep.title = "A kept run is never taken away to make room";
  action.append(keep);
  if (run.is_spin && stateText !== "recording") action.append(button("Reconstruct", `${path}/reconstruct`));
  row.append(action);
  return row;
}

// ---- what people ask for

async function post(path, body) {
  at("message").textContent = "";
  const reply = await fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: body && JSON.stringify(body) });
  if (!reply.ok) at("message").textContent = (await reply.json()).error ?? reply.statusText;
}

for (const action of ["arm", "start", "abort"]) {
  at(`spin-${action}`).onclick = () => post(`/api/streams/${encodeURIComponent(view.stream)}/spin/${action}`);
}
for (const action of ["start", "stop"]) {
  at(`record-${action}`).onclick = () => post(`/api/streams/${encodeURIComponent(view.stream)}/recording/${action}`);
}
for (const button of document.querySelectorAll("[data-stage]")) {
  button.onclick = () => {
    const isOn = button.getAttribute("aria-pressed") !== "true";
    post(`/api/streams/${encodeURIComponent(view.stream)}/stages`, { [button.dataset.stage]: isOn });
  };
}
at("remask").onclick = () => post(`/api/streams/${encodeURIComponent(view.stream)}/remask`);
at("signal-reset").onclick = () => post(`/api/streams/${encodeURIComponent(view.stream)}/dose/reset-signal`);
at("stream").onchange = (event) => {
  [view.image, view.fresh, view.status, view.arrivals, view.lastImage] = [null, false, null, [], 0];
  connect(event.target.value);
};

function setWindow(low, high) {
  view.low = Math.max(0, Math.min(65534, Math.round(low)));
  view.high = Math.max(view.low + 1, Math.min(65535, Math.round(high)));
  if (document.activeElement !== at("low")) at("low").value = view.low;
  if (document.activeElement !== at("high")) at("high").value = view.high;
}

function setAuto(auto) {
  view.auto = auto;
  at("window-auto").setAttribute("aria-pressed", auto);
  if (auto && view.image) setWindow(...view.image.window);
  redraw();
}

function redraw() {
  view.screen.draw(null, view);
}

for (const id of ["low", "high"]) {
  at(id).oninput = () => {
    setAuto(false);
    setWindow(Number(at("low").value), Number(at("high").value));
    redraw();
  };
}
at("window-auto").onclick = () => setAuto(!view.auto);
at("image").ondblclick = () => setAuto(true);
for (const [id, name] of [["linear", "linear"], ["invert", "inverted"]]) {
  at(id).onclick = () => {
    view[name] = !view[name];
    at(id).setAttribute("aria-pressed", view[name]);
    redraw();
  };
}
at("image").onpointerdown = (event) => {
  const canvas = at("image");
  canvas.setPointerCapture(event.pointerId);
  const begun = { x: event.clientX, y: event.clientY, centre: (view.low + view.high) / 2, width: view.high - view.low };
  canvas.onpointermove = (move) => {
    if (Math.hypot(move.clientX - begun.x, move.clientY - begun.y) < 4) return;
    setAuto(false);
    const width = begun.width * Math.exp((move.clientX - begun.x) / 200);
    const centre = begun.centre + begun.width * (move.clientY - begun.y) / 300;
    setWindow(centre - width / 2, centre + width / 2);
    redraw();
  };
  canvas.onpointerup = () => { canvas.onpointermove = null; };
};

look();
draw();
