// What form.html says without a question to the hub: presets fill fields, limits follow what is chosen, a link is made.
// It informs only; the hub decides. Text goes in as text, never as markup. Without form.html's facts it does nothing.
(function () {
  "use strict";
  const form = document.getElementById("spawn_form");
  const block = document.getElementById("request-facts");
  if (!form || !block) { return; }
  const facts = JSON.parse(block.textContent);
  const UNITS = { "": 1, k: 1e3, K: 1024, m: 1e6, M: 1024 ** 2, g: 1e9, G: 1024 ** 3, t: 1e12, T: 1024 ** 4 };

  const has = (table, name) => Object.prototype.hasOwnProperty.call(table, name);

  // ---- fields

  const fields = Array.from(form.querySelectorAll("[name]:not([type=hidden], [type=radio])"));
  const cards = Array.from(form.querySelectorAll("[name=preset]"));
  const own = cards.find((card) => !card.value);
  const field = (name) => fields.find((one) => one.name === name);

  function read(one) {
    return one.type === "checkbox" ? (one.checked ? "yes" : "") : one.value.trim();
  }

  function write(one, text) {
    if (one.readOnly) { return; }
    if (one.type === "checkbox") { one.checked = text === "yes"; return; }
    one.value = text;
    if (one.selectedIndex < 0) { one.value = ""; } // the first of a list may stand there as "" only
    if (one.selectedIndex < 0) { one.selectedIndex = 0; }
  }

  const value = (name) => (field(name) ? read(field(name)) : "");
  const snapshot = () => Object.fromEntries(fields.map((one) => [one.name, read(one)]));
  const opened = snapshot();
  let kept = opened; // what a person made of the fields, while a preset stands in them

  // ---- Grid Engine's notations

  function bytes(text) {
    const found = /^([0-9]{1,18})(\.[0-9]{1,6})?([kKmMgGtT]?)$/.exec(text);
    return found ? Math.ceil(Number(found[1] + (found[2] || "")) * UNITS[found[3]]) : null;
  }

  function seconds(text) {
    if (/^[0-9]{1,9}$/.test(text)) { return Number(text); }
    const found = /^([0-9]{0,6}):([0-9]{0,6}):([0-9]{0,9})$/.exec(text);
    return found ? Number(found[1]) * 3600 + Number(found[2]) * 60 + Number(found[3]) : null;
  }

  const whole = (text) => (/^[0-9]{1,9}$/.test(text) ? Number(text) : null);

  function size(amount) { // as the hub writes it; roughly where that has too many digits to be read
    const exact = ["T", "G", "M", "K"].find((unit) => amount && amount % UNITS[unit] === 0) || "";
    if (amount / UNITS[exact] < 10000) { return amount / UNITS[exact] + exact; }
    const rough = ["T", "G", "M", "K"].find((unit) => amount >= UNITS[unit]);
    return "about " + Math.round((amount / UNITS[rough]) * 10) / 10 + rough;
  }

  const count = (number, noun) => number + " " + noun + (number === 1 ? "" : "s");

  function words(length) {
    const parts = [];
    [[3600, "hour"], [60, "minute"], [1, "second"]].forEach(([unit, noun]) => {
      if (length >= unit) { parts.push(count(Math.floor(length / unit), noun)); }
      length %= unit;
    });
    return parts.join(" ") || "0 seconds";
  }

  // ---- limits

  const KINDS = {
    cores: { say: (number) => count(number, "core"), read: whole },
    memory: { say: size, read: bytes },
    gpus: { say: (number) => (number ? count(number, "GPU") : "no GPUs"), read: whole },
    runtime: { say: words, read: seconds },
  };
  const atMost = (name, number) => (number ? "at most " : "") + KINDS[name].say(number);

  function wish() { // null: cannot be read, which the hub will say
    const found = { type: value("gpu_type"), queue: value("queue"), pe: value("pe"), project: null };
    if (has(facts.projects, value("project"))) { found.project = facts.projects[value("project")]; }
    Object.keys(KINDS).forEach((name) => { found[name] = field(name) ? KINDS[name].read(value(name)) : 0; });
    found.cores = field("cores") ? found.cores : 1;
    return found;
  }

  function share(asked) { // of one core, in whole K
    return Math.ceil(asked.memory / (asked.cores * 1024)) * 1024;
  }

  function limits(name, project) {
    const found = { ...facts.queues[name] };
    Object.keys(KINDS).forEach((kind) => {
      if (project && kind in project) { found[kind] = Math.min(found[kind], project[kind]); }
    });
    return found;
  }

  function beyond(asked, kind, most) {
    if (kind === "memory" && facts.divided && asked.cores && asked.memory !== null) {
      return share(asked) * asked.cores > most;
    }
    return asked[kind] !== null && asked[kind] > most;
  }

  function closed(name, project) { // why a queue does not take sessions of the project, or none without one
    if (project && project.queues && !project.queues.includes(name)) { return "closed to project " + value("project"); }
    const takes = facts.queues[name].projects;
    return takes && !takes.includes(value("project")) ? "for " + takes.join(", ") + " only" : "";
  }

  function holds(name, pe, cores) { // what the cluster has not said of a queue is enough
    const slots = has(facts.slots, name) ? facts.slots[name] : null;
    return !slots || (has(slots, pe) && cores <= slots[pe]);
  }

  function together(names, asked) { // a job names one parallel environment, which all of its queues offer
    const pe = asked.pe || facts.pes.find((one) => names.some((name) => holds(name, one, asked.cores)));
    return asked.cores > 1 && pe ? names.filter((name) => holds(name, pe, asked.cores)) : names;
  }

  function unfit(name, asked) { // reasons why a queue does not fit
    const most = limits(name, asked.project);
    const found = Object.keys(KINDS).filter((kind) => beyond(asked, kind, most[kind])).map((kind) => atMost(kind, most[kind]));
    if (asked.gpus && asked.type && most.gpu_types && !most.gpu_types.includes(asked.type)) {
      found.push("no GPUs of this type");
    }
    if (asked.cores > 1 && asked.pe && !holds(name, asked.pe, asked.cores)) {
      found.push("not so many slots in " + asked.pe);
    }
    const reason = closed(name, asked.project);
    return reason ? [reason] : found;
  }

  const below = (asked, kind) => asked[kind] !== null && asked[kind] < facts.least[kind];

  function uneven(asked) { // each core gets the same number of GPUs
    return Boolean(facts.gpus_per_slot && asked.cores && asked.gpus % asked.cores);
  }

  // ---- what stands beside the fields

  function say(name, sentences, wrong) {
    const one = field(name);
    const place = one && document.getElementById(one.id + "-now");
    if (!place) { return; }
    // What the hub has said of a value is not said a second time.
    const answered = one.getAttribute("aria-invalid") && read(one) === opened[name];
    place.textContent = answered ? "" : sentences.filter(Boolean).join(" ");
    place.classList.toggle("sgehub-now-beyond", Boolean(wrong) && place.textContent !== "");
  }

  function sayLimits(asked) {
    const named = has(facts.queues, asked.queue);
    const open = named ? [asked.queue] : Object.keys(facts.queues).filter((name) => !closed(name, asked.project));
    const where = named ? " in " + asked.queue : asked.project ? " for project " + value("project") : "";
    const every = open.map((name) => limits(name, asked.project));
    Object.keys(KINDS).forEach((kind) => {
      if (!every.length) { say(kind, []); return; } // the project's queues are closed to the person: the hub says so
      const most = Math.max(...every.map((one) => one[kind]));
      const wrong = beyond(asked, kind, most) || (kind === "gpus" && uneven(asked));
      const low = below(asked, kind);
      const sentences = [];
      if (beyond(asked, kind, most) || where) { sentences.push(sentence(atMost(kind, most) + where)); }
      if (low) { sentences.push("At least " + KINDS[kind].say(facts.least[kind]) + "."); }
      if (kind === "memory") { sentences.push(shared(asked)); }
      if (kind === "gpus") { sentences.push(possible(asked, most)); }
      say(kind, sentences, wrong || low);
    });
  }

  const sentence = (text) => text[0].toUpperCase() + text.slice(1) + ".";

  function shared(asked) {
    if (!facts.divided || !(asked.cores > 1) || !asked.memory) { return ""; }
    return sentence(size(share(asked)) + " for each of " + asked.cores + " cores");
  }

  function possible(asked, most) { // GPUs that are counted per slot: each core gets the same number
    if (!facts.gpus_per_slot || !(asked.cores > 1) || !most) { return ""; }
    const counts = Array.from({ length: Math.floor(most / asked.cores) + 1 }, (_, index) => index * asked.cores);
    const last = counts.pop();
    const shown = counts.length > 5 ? [...counts.slice(0, 4), "…"] : counts;
    return "With " + asked.cores + " cores: " + (last ? shown.join(", ") + " or " + last : "no GPUs") + ".";
  }

  function sayQueues(asked) {
    const select = field("queue");
    if (!select) { return; }
    const open = [];
    Array.from(select.options).forEach((option) => {
      option.dataset.words = option.dataset.words || option.textContent;
      const reasons = has(facts.queues, option.value) ? unfit(option.value, asked) : [];
      if (has(facts.queues, option.value) && !reasons.length) { open.push(option.value); }
      option.textContent = reasons.length ? option.value + " does not fit: " + reasons.join(", ") : option.dataset.words;
    });
    if (has(facts.queues, asked.queue)) {
      const reasons = unfit(asked.queue, asked);
      say("queue", [reasons.length ? asked.queue + " does not fit: " + reasons.join(", ") + "." : ""], true);
    } else if (uneven(asked) || Object.keys(KINDS).some((kind) => below(asked, kind))) {
      say("queue", []); // refused in any queue, which stands beside the other field
    } else {
      const fitting = together(open, asked);
      const rest = fitting.length > 6 ? " and " + (fitting.length - 6) + " more" : "";
      const fit = "Fits in " + fitting.slice(0, 6).join(", ") + rest + ".";
      say("queue", [fitting.length ? fit : "No queue offers all of this together."], !fitting.length);
    }
  }

  function idle(name, isIdle) { // it can be chosen all the same, and then means nothing, as its help says
    if (field(name)) { field(name).classList.toggle("sgehub-idle", isIdle); }
  }

  function line(values) { // the same words as on the cards of presets
    const asked = Object.fromEntries(Object.keys(KINDS).map((kind) => [kind, KINDS[kind].read(values[kind] || "0")]));
    if (!asked.cores || !asked.memory || !asked.runtime) { return ""; }
    return Object.keys(KINDS).filter((kind) => asked[kind]).map((kind) => KINDS[kind].say(asked[kind])).join(", ");
  }

  function refresh() {
    const asked = wish();
    sayLimits(asked);
    sayQueues(asked);
    idle("gpu_type", asked.gpus === 0);
    idle("pe", asked.cores === 1);
    const about = form.querySelectorAll("[data-environment]");
    const chosen = value("environment") || (field("environment") && facts.environment);
    about.forEach((one) => { one.hidden = one.dataset.environment !== chosen; });
    if (own) { document.getElementById("request-own").textContent = line(kept); }
  }

  // ---- presets

  function decided(name) { // what the card of a preset says; all else stays, such as a project
    if (!has(facts.presets, name)) { return {}; }
    return { ...Object.fromEntries(facts.card.map((one) => [one, facts.fresh[one]])), ...facts.presets[name] };
  }

  function choose(name) {
    const values = { ...kept, ...decided(name) };
    fields.forEach((one) => {
      write(one, values[one.name] || "");
      const more = one.closest("details");
      if (more && read(one) !== (facts.fresh[one.name] || "")) { more.open = true; }
    });
  }

  function changed(event) {
    const one = event.target;
    if (cards.includes(one)) {
      choose(one.value);
    } else if (fields.includes(one)) {
      const card = cards.find((each) => each.checked);
      if (card && card.value && !has(decided(card.value), one.name)) {
        kept = { ...kept, [one.name]: read(one) };
      } else {
        if (own) { own.checked = true; }
        kept = snapshot();
      }
    }
    refresh();
  }

  function shown() { // Back may bring other values with it: what the page shows is what Start will ask for
    const card = cards.find((each) => each.checked);
    if (card && card.value) { choose(card.value); } else { kept = snapshot(); }
    refresh();
  }

  // ---- a link to this request

  const button = document.getElementById("copy-link");

  function link() {
    const address = new URL(button.dataset.address, window.location.href);
    const named = fields.filter((one) => read(one) !== (facts.fresh[one.name] || ""));
    // A form that is opened without options shows the last request, so that one field is named at least.
    (named.length ? named : fields.slice(0, 1)).forEach((one) => {
      address.searchParams.append(facts.prefix + one.name, read(one));
    });
    return address.href;
  }

  function showLink(address) { // where the clipboard is closed: pages without HTTPS
    const place = document.getElementById("link");
    place.value = address;
    place.hidden = false;
    place.focus();
    place.select();
    document.getElementById("copied").textContent = "Copy the link from the field.";
  }

  function copy() {
    const address = link();
    const said = document.getElementById("copied");
    said.textContent = "";
    if (!window.isSecureContext || !navigator.clipboard) { showLink(address); return; }
    navigator.clipboard.writeText(address).then(
      () => { said.textContent = "The link is copied. It fills the form and starts nothing."; },
      () => { showLink(address); }
    );
  }

  if (button) {
    button.hidden = false;
    button.addEventListener("click", copy);
  }
  form.addEventListener("input", changed);
  form.addEventListener("change", changed);
  window.addEventListener("pageshow", shown);
  refresh();
})();
