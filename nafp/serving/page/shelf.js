// The collection: listed, searched, and with a token changed.

import {byOf, clock, element, titleOf} from "./names.js";

const TYPING_MS = 250;
const $ = id => document.getElementById(id);

export class Shelf {
  constructor(collection, onChange) {
    Object.assign(this, {collection, onChange, number: 0});
    let timer;
    $("search-text").addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => this.show(), TYPING_MS);
    });
    $("search").addEventListener("submit", event => {
      event.preventDefault();
      this.show();
    });
    $("more").addEventListener("click", () => this.show(this.next));
    $("change").hidden = !collection.canChange || collection.about.read_only;
    $("add").addEventListener("submit", event => {
      event.preventDefault();
      this.add();
    });
    $("token").addEventListener("input", () => this.offerRemoval());
  }

  // Lists the tracks that fit the search, from the first on or behind those that are listed.
  async show(after = 0) {
    const number = ++this.number, text = $("search-text").value.trim();
    try {
      const page = await this.collection.tracks(text, after);
      if (number !== this.number) return;
      const items = page.tracks.map(track => this.item(track));
      after ? $("tracks").append(...items) : $("tracks").replaceChildren(...items);
      this.next = page.next;
      $("more").hidden = page.next === null;
      $("shelf-status").textContent = page.tracks.length || after ? "" : text ? "No track fits." : "There is no track yet.";
      if (after) items[0]?.querySelector("button, span")?.focus?.();
    } catch (error) {
      if (number === this.number) $("shelf-status").textContent = error.message;
    }
    this.offerRemoval();
  }

  item(track) {
    const item = document.createElement("li"), words = document.createElement("span"), title = titleOf(track.name, track.metadata);
    words.append(element("span", title, {title: track.name}), element("span", byOf(track.metadata), {className: "by"}));
    const remove = element("button", "Remove", {type: "button", className: "danger", hidden: true});
    remove.setAttribute("aria-label", `Remove ${title}`);
    remove.addEventListener("click", () => this.remove(track, title, item));
    item.append(words, element("span", clock(track.seconds), {className: "length"}), remove);
    return item;
  }

  offerRemoval() {
    const isHidden = $("change").hidden || !$("token").value;
    for (const button of $("tracks").querySelectorAll("button")) button.hidden = isHidden;
  }

  async add() {
    const [file] = $("new-file").files, token = $("token").value.trim();
    if (!token || !file) return this.tell(token ? "Choose a recording." : "A token is needed.");
    this.tell(`Adding ${file.name} …`);
    try {
      const track = await this.collection.add(file, $("new-title").value.trim(), token);
      this.tell(`Added: ${titleOf(track.name, track.metadata)}, ${clock(track.seconds)}.`);
      $("new-file").value = $("new-title").value = "";
      await this.changed();
    } catch (error) {
      this.tell(error.message);
    }
  }

  async remove(track, title, item) {
    $("sure-remove-text").textContent = `Remove ${title} from the collection?`;
    if (await answered($("sure-remove")) !== "yes") return;
    try {
      await this.collection.remove(track, $("token").value.trim());
      item.remove();
      this.tell(`Removed: ${title}.`);
      await this.changed();
    } catch (error) {
      this.tell(error.message);
    }
  }

  async changed() {
    await this.collection.refresh();
    this.onChange();
    await this.show();
  }

  tell(text) {
    $("change-status").textContent = text;
  }
}

function answered(dialog) {
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise(resolve => dialog.addEventListener("close", () => resolve(dialog.returnValue), {once: true}));
}
