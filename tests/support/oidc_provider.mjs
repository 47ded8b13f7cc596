// A real OpenID provider for the tests: node oidc_provider.mjs PATH-OF-OIDC-PROVIDER PORT, the keys as JSON on the first
// line of standard input, then clients, one a line; each is answered with a line. The first answer is the issuer's URL.
// Whoever logs in as "alice@site" is "alice", in the groups "users" and "alice-group". It ends with its standard input.

import http from 'node:http';
import readline from 'node:readline';

const { Provider } = await import(process.argv[2]);
const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const keys = JSON.parse((await lines.next()).value);
const server = http.createServer();
await new Promise((ready) => server.listen(Number(process.argv[3]), '127.0.0.1', ready));
const issuer = `http://127.0.0.1:${server.address().port}`;

const names = (account) => {
  const name = account.split('@')[0];
  return { preferred_username: name, groups: ['users', `${name}-group`] };
};
const resource = (audience) => ({
  scope: 'use',
  audience,
  accessTokenTTL: 300,
  accessTokenFormat: 'jwt',
  jwt: { sign: { alg: 'RS256' } },
});

const provider = new Provider(issuer, {
  jwks: { keys },
  claims: { openid: ['sub'], profile: ['preferred_username', 'groups'] },
  cookies: { keys: ['a key for cookies of the tests'] },
  scopes: ['openid', 'offline_access', 'use'],
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id, ...names(id) }) }),
  extraTokenClaims: (ctx, token) => (token.accountId ? names(token.accountId) : undefined),
  issueRefreshToken: (ctx, client, code) => client.grantTypeAllowed('refresh_token') && code.scopes.has('offline_access'),
  rotateRefreshToken: true,
  pkce: { required: () => true },
  ttl: { AccessToken: 300, DeviceCode: 300, IdToken: 300, Interaction: 300, Grant: 300, Session: 300, RefreshToken: 300 },
  features: {
    devInteractions: { enabled: true },
    deviceFlow: { enabled: true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => undefined,
      useGrantedResource: () => true,
      getResourceServerInfo: (ctx, indicator) => resource(indicator.split('/').pop()),
    },
  },
});
server.on('request', provider.callback());
console.log(issuer);

for await (const line of lines) {
  const client = JSON.parse(line);
  await provider.Client.adapter.upsert(client.client_id, client);
  console.log(client.client_id);
}
server.closeAllConnections();
server.close();
