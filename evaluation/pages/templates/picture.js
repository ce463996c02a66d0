// Marks say their numbers below the picture: under the pointer, at a touch, and by arrow keys.
const NEAR = 28; // How far from a mark the pointer may be, in units of the picture.
for (const figure of document.querySelectorAll('.picture')) {
  const picture = figure.querySelector('svg');
  const readout = figure.querySelector('.readout');
  const marks = [...picture.querySelectorAll('.mark')];
  let shown = -1;
  const show = number => {
    if (number === shown) return;
    marks[shown]?.classList.remove('shown');
    shown = number;
    marks[shown]?.classList.add('shown');
    readout.textContent = marks[shown]?.querySelector('title').textContent ?? '';
  };
  const nearest = event => {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(picture.getScreenCTM().inverse());
    let best = -1;
    let least = NEAR;
    marks.forEach((mark, number) => {
      const away = Math.hypot(mark.dataset.x - point.x, mark.dataset.y - point.y);
      if (away < least) [best, least] = [number, away];
    });
    const under = event.target.closest?.('.bar');
    return under ? marks.indexOf(under) : best;
  };
  const steps = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1};
  picture.addEventListener('pointermove', event => show(nearest(event)));
  picture.addEventListener('click', event => show(nearest(event)));
  picture.addEventListener('pointerleave', event => { if (event.pointerType === 'mouse') show(-1); });
  picture.addEventListener('blur', () => show(-1));
  picture.addEventListener('keydown', event => {
    if (event.key in steps) show((shown + steps[event.key] + marks.length + (shown < 0 && steps[event.key] < 0)) % marks.length);
    else if (event.key === 'Home') show(0);
    else if (event.key === 'End') show(marks.length - 1);
    else if (event.key === 'Escape') show(-1);
    else return;
    event.preventDefault();
  });
}
