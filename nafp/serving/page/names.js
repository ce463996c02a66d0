// What to call things: names of tracks, and times.

// Returns the name of a track for people: its title, else the name of its file.
export function titleOf(name, metadata = {}) {
  if (metadata.title) return metadata.title;
  const file = name.split(/[/\\]/).pop();
  return file.replace(/\.[a-z0-9]{1,5}$/i, "") || name;
}

export function byOf(metadata = {}) {
  return [metadata.artist, metadata.album].filter(Boolean).join(" · ");
}

// Returns seconds as 1:02:03, with tenths if they are wanted.
export function clock(seconds, tenths = false) {
  const sign = seconds < -0.05 ? "-" : "", all = Math.round(10 * Math.abs(seconds));
  const whole = tenths ? Math.floor(all / 10) : Math.round(Math.abs(seconds));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = x => String(x).padStart(2, "0");
  return `${sign}${h ? `${h}:${two(m)}` : m}:${two(s)}${tenths ? `.${all % 10}` : ""}`;
}

export function percent(probability) {
  return `${(100 * Math.min(probability, 0.999)).toFixed(1).replace(/\.0$/, "")} %`;
}

export function bytes(n) {
  return n < 1e6 ? `${(n / 1e3).toFixed(n < 1e4 ? 1 : 0)} kB` : `${(n / 1e6).toFixed(1)} MB`;
}

// Makes an element with text in it, which is never read as HTML.
export function element(tag, text = "", properties = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  return Object.assign(made, properties);
}
