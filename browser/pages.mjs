// The demo site, and an upload, as a page in a browser sees them.

/// What every kind of resource on the page was received as.
const TYPES = ['Document', 'Stylesheet', 'Script', 'Image', 'Fetch'];

const same = (seen, wanted) => {
  const [a, b] = [JSON.stringify(seen), JSON.stringify(wanted)];
  return a === b ? undefined : `${a} in the place of ${b}`;
};

/// The page with what its script has fetched.
async function openSite (chromium, demo) {
  await chromium.open(`${demo.url}/`);
  await chromium.evaluate(`new Promise(resolve => {
    const look = () => document.getElementById('fields').textContent ? resolve() : setTimeout(look, 20);
    look();
  })`);
}

const field = ({ headers }, name) => {
  const found = Object.entries(headers).find(([known]) => known.toLowerCase() === name);
  return found?.[1];
};

async function checkSite (checks, chromium, demo) {
  await checks.that('the page, its style, its script and its image are loaded over h2 and TLS 1.3', async () => {
    await openSite(chromium, demo);
    const missing = TYPES.filter(type => !chromium.answers.some(answer => answer.type === type));
    if (missing.length > 0) return `without ${missing}`;
    const bad = chromium.answers.filter(answer => answer.status !== 200 || answer.protocol !== 'h2' ||
      answer.securityDetails?.protocol !== 'TLS 1.3');
    return bad.map(({ url, status, protocol }) => `${url}: ${status} over ${protocol}`).join(', ');
  });
  await checks.that('the page is as it was made, and its script has run', async () => {
    const seen = await chromium.evaluate(`({
      title: document.title,
      heading: document.querySelector('h1').textContent,
      weight: getComputedStyle(document.querySelector('h1')).fontWeight,
      image: document.querySelector('img').naturalWidth > 0,
      via: document.getElementById('fields').textContent.includes('via: '),
    })`);
    const wanted = { title: 'Brim demo', heading: 'It works', weight: '600', image: true, via: true };
    return same(seen, wanted);
  });
  await checks.that('a second load comes out of the edge\'s cache', async () => {
    await chromium.forget();
    await openSite(chromium, demo);
    const bad = chromium.answers.filter(answer => !/;\s*hit/.test(field(answer, 'cache-status') ?? ''));
    if (chromium.answers.length < TYPES.length) return `only ${chromium.answers.length} answers`;
    return bad.map(answer => `${answer.url}: ${field(answer, 'cache-status')}`).join(', ');
  });
}

async function checkFetches (checks, chromium) {
  await checks.that('a part of the video comes with 206 and the right bytes', async () => {
    const seen = await chromium.evaluate(`(async () => {
      const answer = await fetch('/video.mp4', { headers: { Range: 'bytes=1000000-1000999' } });
      const view = new DataView(await answer.arrayBuffer());
      const positions = [0, 992].map(at => Number(view.getBigUint64(at)));
      return [answer.status, answer.headers.get('content-range'), view.byteLength, positions];
    })()`);
    return same(seen, [206, 'bytes 1000000-1000999/20971520', 1000, [1000000, 1000992]]);
  });
  await checks.that('the whole video comes with every byte in its place', async () => {
    const seen = await chromium.evaluate(`(async () => {
      const answer = await fetch('/video.mp4', { cache: 'no-store' });
      const view = new DataView(await answer.arrayBuffer());
      let wrong = 0;
      for (let at = 0; at < view.byteLength; at += 8) wrong += Number(view.getBigUint64(at)) !== at;
      return [answer.status, view.byteLength, wrong];
    })()`);
    return same(seen, [200, 20 * 1024 * 1024, 0]);
  });
  await checks.that('what the browser has is still good: 304', async () => {
    const seen = await chromium.evaluate(`(async () => {
      const etag = (await fetch('/logo.svg')).headers.get('etag');
      const answer = await fetch('/logo.svg', { headers: { 'If-None-Match': etag } });
      return [answer.status, (await answer.text()).length];
    })()`);
    return same(seen, [304, 0]);
  });
  await checks.that('a hundred requests at one time are answered over one connection', async () => {
    const seen = await chromium.evaluate(`Promise.all(Array.from({ length: 100 }, async (_, number) => {
      const answer = await fetch('/logo.svg?' + number, { cache: 'no-store' });
      return answer.ok && (await answer.text()).startsWith('<svg');
    })).then(answers => answers.filter(Boolean).length)`);
    const answers = chromium.answers.filter(({ url }) => /logo\.svg\?\d+$/.test(url));
    const connections = new Set(answers.map(answer => answer.connectionId));
    return same([seen, answers.length, connections.size], [100, 100, 1]);
  });
  await checks.that('nothing of all that is an error to the browser', () => chromium.complaints.join('; '));
  await checks.that('the player asks for the video in parts, and gets 206', async () => {
    // It cannot be played: the element says so once it has seen some of it.
    await chromium.evaluate(`new Promise(resolve => {
      const video = document.createElement('video');
      video.onerror = video.onloadedmetadata = resolve;
      video.src = '/video.mp4?player';
    })`);
    const media = chromium.answers.filter(({ type, url }) => type === 'Media' && url.endsWith('?player'));
    const [first] = media;
    return same([first?.status, first?.protocol], [206, 'h2']);
  });
}

async function checkStrict (checks, chromium, strict) {
  await checks.that('the browser is taken from http to https, and told to come that way', async () => {
    await chromium.open(`http://localhost:${new URL(strict.plain).port}/`);
    const redirect = chromium.answers.find(({ type }) => type === 'Redirect');
    const page = chromium.answers.find(({ type }) => type === 'Document');
    const seen = [redirect?.status, page?.url, page?.protocol, field(page, 'strict-transport-security')];
    return same(seen, [308, `${strict.url}/`, 'h2', 'max-age=31536000']);
  });
  await checks.that('what the browser uploads reaches the origin whole', async () => {
    const [told, sha256] = await chromium.evaluate(`(async () => {
      const body = new Uint8Array(1 << 20).map((_, at) => at % 251);
      const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', body));
      const hex = Array.from(digest, byte => byte.toString(16).padStart(2, '0')).join('');
      return [await (await fetch('/upload', { method: 'POST', body })).json(), hex];
    })()`);
    return same(told, { method: 'POST', bytes: 1 << 20, sha256, proto: 'https' });
  });
}

export async function checkBrowser (checks, chromium, demo, strict) {
  await checkSite(checks, chromium, demo);
  await checkFetches(checks, chromium);
  await checkStrict(checks, chromium, strict);
}
