// Shows the message, and the next one as soon as its file says it, without loading the page again.

import { message } from './message.js';

const show = text => { document.getElementById('message').textContent = text; };
show(message);
window.loads = Number(sessionStorage.getItem('loads') ?? 0) + 1;
sessionStorage.setItem('loads', String(window.loads));
import.meta.hot.accept('./message.js', changed => show(changed.message));
