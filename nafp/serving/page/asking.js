// How a clip is asked, as nafp.identify.asking has it: once at its own speed; if unsure, at more speeds and rows.

const TOP = 4;

export function isSure(answer, rules) {
  if (!answer) return false;
  return answer.probability === null ? answer.margin >= rules.sure_margin : answer.probability >= rules.sure;
}

export function isProbable(answer, rules) {
  return Boolean(answer) && (answer.probability === null || answer.probability >= rules.least);
}

// Returns the reply to a clip, with improbable answers, too. closer: whether to look closer at an unsure one.
export async function ask(clip, collection, closer = true) {
  const rules = collection.about.asking;
  const look = await clip.look([1], rules.shifts);
  if (!look.counts[0]) return {answers: []};
  if (!look.vectors.some(x => x)) return {answers: [], silent: true};
  const reply = await collection.identify(look, TOP);
  if (isSure(reply.answers[0], rules) || !closer) return reply;
  const shifts = look.seconds < rules.short_s ? rules.shifts_if_short : rules.shifts;
  return collection.identify(await clip.look(rules.speeds, shifts), TOP);
}
