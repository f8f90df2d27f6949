// Makes the page of openapi.json: every call with its fields, answers and errors, and a box to try it with
// the session of the browser, or with a token that is kept nowhere but in this page.

const WORDS = {
  en: {
    find: 'Find a call', other: '中文', fields: 'Body', parameters: 'Parameters', answers: 'Answers', errors: 'Errors', events: 'Events',
    needs: 'role', scope: 'scope', anybody: 'anybody', tryIt: 'Try it', send: 'Send', token: 'token', session: 'empty: the session of this browser',
    body: 'body', failed: 'The server does not answer.', stream: 'A stream cannot be shown here.', codes: 'All error codes',
    status: 'status', means: 'what it means', remedy: 'what to do', must: 'needed', sure: 'This cannot be undone. Send it?', nothing: 'no content',
  },
  zh: {
    find: '查找接口', other: 'English', fields: '请求体', parameters: '参数', answers: '响应', errors: '错误', events: '事件',
    needs: '角色', scope: '权限范围', anybody: '任何人', tryIt: '试一试', send: '发送', token: '令牌', session: '留空：使用浏览器的登录会话',
    body: '请求体', failed: '服务器没有回应。', stream: '这里不能显示持续的流。', codes: '全部错误码',
    status: '状态码', means: '含义', remedy: '怎么办', must: '必填', sure: '此操作无法撤销。要发送吗？', nothing: '无内容',
  },
};

/** The console keeps its choices under these names. */
const kept = (name) => {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
};

const theme = kept('espush.theme');
if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
let language = kept('espush.language')?.slice(0, 2) ?? (navigator.language.startsWith('zh') ? 'zh' : 'en');
if (!WORDS[language]) language = 'en';
const say = (word) => WORDS[language][word];

/** An element; strings become text, never markup. */
function el(name, about = {}, ...inside) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(about)) {
    if (key === 'on') for (const [event, act] of Object.entries(value)) node.addEventListener(event, act);
    else if (key in node && key !== 'list') node[key] = value;
    else node.setAttribute(key, value);
  }
  node.append(...inside.filter((part) => part !== undefined && part !== null));
  return node;
}

/** Text with `code` in it. */
const prose = (text) => text.split('`').map((part, at) => (at % 2 ? el('code', {}, part) : part));

const document_ = await fetch('/api/v1/openapi.json').then((answer) => answer.json());
const codes = document_.components.schemas.Problem.properties.code['x-meanings'];
const resolve = (schema) => (schema?.$ref ? document_.components.schemas[schema.$ref.split('/').pop()] : schema) ?? {};

/** A schema in a few words. */
function kind(schema) {
  if (schema.$ref) {
    const name = schema.$ref.split('/').pop();
    const words = resolve(schema).enum;
    return words ? words.join(' | ') : name;
  }
  if ('const' in schema) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.join(' | ');
  const choices = schema.oneOf ?? schema.anyOf;
  if (choices) return [...new Set(choices.map(kind))].join(' | ');
  const types = [schema.type ?? 'any'].flat();
  return types.map((type) => (type === 'array' ? `[${kind(schema.items ?? {})}]` : type)).join(' | ') + (schema.format === 'date-time' ? ' (RFC 3339)' : '');
}

const hasMembers = (schema) => Boolean(schema.properties) || (schema.oneOf ?? schema.anyOf ?? []).some((choice) => resolve(choice).properties);

/** The members of a schema as rows, those of its members below them. */
function rows(schema, depth = 0, seen = []) {
  const target = resolve(schema);
  const choices = (target.oneOf ?? target.anyOf ?? []).map(resolve);
  const members = { ...target.properties, ...Object.assign({}, ...choices.map((choice) => choice.properties)) };
  return Object.entries(members).flatMap(([name, member]) => {
    const must = target.required?.includes(name);
    const row = el('tr', {},
      el('td', {}, depthed(name, depth), must ? el('span', { className: 'must', title: say('must') }, ' *') : ''),
      el('td', {}, el('code', {}, kind(member))),
      el('td', {}, ...prose(member.description ?? resolve(member).description ?? '')));
    const inner = member.items ?? member;
    const next = inner.$ref && !seen.includes(inner.$ref) && hasMembers(resolve(inner)) ? rows(inner, depth + 1, [...seen, inner.$ref]) : [];
    return [row, ...next];
  });
}

function depthed(name, depth) {
  const cell = el('span', { className: 'nested' }, el('code', {}, name));
  cell.style.setProperty('--depth', depth);
  return cell;
}

const table = (...lines) => el('div', { className: 'table' }, el('table', {}, el('tbody', {}, ...lines)));

/** A first body to change: what must be there, and one payload for a push. */
function example(schema) {
  const target = resolve(schema);
  if (target.examples) return target.examples[0];
  if (target.properties) {
    const wanted = target.required?.length ? target.required : Object.keys(target.properties).slice(0, 1);
    const made = Object.fromEntries(wanted.map((name) => [name, example(target.properties[name])]));
    if (target.properties.audience) made.text = 'hello';
    return made;
  }
  if (target.enum) return target.enum[0];
  return { integer: 1, number: 1, boolean: true, array: [], object: {} }[[target.type].flat()[0]] ?? 'text';
}

/** The fields and the button with which a call is tried. */
function trial(method, path, call) {
  const stream = call.responses['200']?.content?.['text/event-stream'];
  if (stream || call.responses['101']) return [el('p', { className: 'soft' }, say('stream'))];
  const inputs = (call.parameters ?? []).filter((parameter) => parameter.in !== 'header');
  const fields = new Map(inputs.map((parameter) => [parameter, el('input', { name: parameter.name, autocomplete: 'off', spellcheck: false })]));
  const content = call.requestBody?.content;
  const first = content?.['application/json'];
  const body = content && el('textarea', { spellcheck: false, value: first ? JSON.stringify(example(first.schema), null, 2) : 'toggle' });
  const token = el('input', { type: 'password', autocomplete: 'off', placeholder: say('session') });
  const result = el('div', { 'aria-live': 'polite' });
  const send = async () => {
    if (method === 'delete' && !confirm(say('sure'))) return;
    let target = path;
    const query = new URLSearchParams();
    for (const [parameter, input] of fields) {
      if (parameter.in === 'path') target = target.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
      else if (input.value) query.set(parameter.name, input.value);
    }
    if ([...query].length) target += `?${query}`;
    const headers = { 'X-Espush': '1' };
    if (token.value) headers.Authorization = `Bearer ${token.value}`;
    if (first) headers['Content-Type'] = 'application/json';
    try {
      const answer = await fetch(target, { method: method.toUpperCase(), headers, body: body?.value });
      let text = await answer.text();
      try {
        text = JSON.stringify(JSON.parse(text), null, 2);
      } catch {
        // Not JSON: shown as it is.
      }
      const status = el('span', { className: `status ${answer.ok ? 'good' : 'bad'}` }, `${answer.status} ${answer.statusText}`);
      result.replaceChildren(el('p', {}, status, ' ', el('code', {}, `${method.toUpperCase()} ${target}`)), el('pre', {}, text || say('nothing')));
    } catch {
      result.replaceChildren(el('p', { className: 'status bad' }, say('failed')));
    }
  };
  const form = el('form', { on: { submit: (event) => (event.preventDefault(), send()) } });
  for (const [parameter, input] of fields) {
    input.required = parameter.in === 'path';
    form.append(el('label', {}, el('code', {}, parameter.name), input));
  }
  if (body) form.append(el('label', {}, say('body'), body));
  if (call.security === undefined) form.append(el('label', {}, say('token'), token));
  form.append(el('button', { type: 'submit', className: 'send' }, say('send')));
  return [form, result];
}

/** All that is known of one call. */
function inside(method, path, call) {
  const parts = [];
  const part = (title, ...content) => parts.push(el('h3', {}, say(title)), ...content);
  const scope = call['x-scope'] ? ` · ${say('scope')}: ${call['x-scope']}` : '';
  parts.push(el('p', { className: 'soft' }, `${say('needs')}: ${call['x-role'] ?? say('anybody')}${scope} · `, el('code', {}, call.operationId)));
  if (call.parameters) {
    part('parameters', table(...call.parameters.map((parameter) => el('tr', {},
      el('td', {}, el('code', {}, parameter.name), parameter.required ? el('span', { className: 'must', title: say('must') }, ' *') : ''),
      el('td', {}, el('code', {}, kind(parameter.schema)), ' ', el('span', { className: 'soft' }, parameter.in)),
      el('td', {}, ...prose(parameter.description ?? ''))))));
  }
  const sent = call.requestBody?.content;
  if (sent) {
    const [type, { schema }] = Object.entries(sent)[0];
    part('fields', el('p', {}, el('code', {}, schema.$ref?.split('/').pop() ?? type)), table(...rows(schema)));
  }
  const answers = Object.entries(call.responses).filter(([status, answer]) => !answer['x-codes'] || status < 400);
  part('answers', ...answers.flatMap(([status, answer]) => {
    const of = Object.entries(answer.content ?? {});
    const head = el('p', {}, el('span', { className: 'status good' }, status), ' ', ...prose(answer.description), ' ',
      el('code', {}, of.map(([type, { schema }]) => (schema.$ref ? schema.$ref.split('/').pop() : type)).join(', ')));
    const described = of.find(([, { schema }]) => resolve(schema).properties);
    return described ? [head, table(...rows(described[1].schema))] : [head];
  }));
  const kinds = call.responses['200']?.content?.['text/event-stream']?.schema['x-events'];
  if (kinds) part('events', ...Object.entries(kinds).flatMap(([name, schema]) => [el('p', {}, el('code', {}, name)), table(...rows(schema))]));
  const words = Object.values(call.responses).flatMap((answer) => answer['x-codes'] ?? []);
  if (words.length) part('errors', errors(words));
  part('tryIt', ...trial(method, path, call));
  return parts;
}

function errors(words) {
  const line = (word) => {
    const { status } = codes[word];
    const [means, remedy] = codes[word][language];
    return el('tr', {}, el('td', {}, `${status} `, el('code', {}, word)), el('td', {}, ...prose(means)), el('td', {}, ...prose(remedy)));
  };
  return table(el('tr', {}, el('th', {}, `${say('status')}, code`), el('th', {}, say('means')), el('th', {}, say('remedy'))), ...words.map(line));
}

function card(method, path, call) {
  const content = el('div', { className: 'inside' });
  const box = el('details', { id: call.operationId }, el('summary', {},
    el('span', { className: `method ${method}` }, method.toUpperCase()), el('span', { className: 'path' }, path), el('span', { className: 'says' }, ...prose(call.summary))), content);
  box.dataset.text = `${method} ${path} ${call.operationId} ${call.summary}`.toLowerCase();
  // Made when it is looked at.
  box.addEventListener('toggle', () => box.open && !content.firstChild && content.append(...inside(method, path, call)));
  return box;
}

function draw() {
  document.documentElement.lang = language === 'zh' ? 'zh-CN' : 'en';
  const find = document.getElementById('find');
  find.placeholder = say('find');
  find.setAttribute('aria-label', say('find'));
  document.getElementById('language').textContent = say('other');
  const all = Object.entries(document_.paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, call]) => [method, path, call]));
  const sections = document_.tags.map(({ name, description }) => el('section', {},
    el('h2', { id: name }, name), el('p', {}, description), ...all.filter(([, , call]) => call.tags.includes(name)).map((one) => card(...one))));
  const codes_ = el('section', {}, el('h2', { id: 'codes' }, say('codes')), errors(Object.keys(codes)));
  document.getElementById('calls').replaceChildren(...sections, codes_);
  document.getElementById('sections').replaceChildren(
    ...document_.tags.map(({ name }) => el('a', { href: `#${name}` }, name)), el('a', { href: '#codes' }, say('codes')), el('a', { href: '/api/v1/openapi.json' }, 'openapi.json'));
  sift();
  show();
}

/** Shows the calls that have every word. */
function sift() {
  const words = document.getElementById('find').value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const section of document.querySelectorAll('main > section')) {
    const boxes = [...section.querySelectorAll('details')];
    boxes.forEach((box) => (box.hidden = !words.every((word) => box.dataset.text.includes(word))));
    section.hidden = words.length > 0 && boxes.every((box) => box.hidden);
  }
}

/** Opens the call that the address names. */
function show() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target?.tagName === 'DETAILS') target.open = true;
  target?.scrollIntoView();
}

document.getElementById('find').addEventListener('input', sift);
document.getElementById('language').addEventListener('click', () => {
  language = language === 'zh' ? 'en' : 'zh';
  draw();
});
addEventListener('hashchange', show);
draw();
