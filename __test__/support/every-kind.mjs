// Definitions with flags of every kind, and users by whom SDKs in different languages can be compared.

/** Adds to definitions of the harness what they lack: flags that depend on others, and more variants. To be given to `api.edit()`. */
export function addEveryKind(data) {
  const like = data.flags.find(({ key }) => key.startsWith('checkout-redesign'))
  const add = (key, filters, more) => data.flags.push({ ...like, id: 1_000 + data.flags.length, key, name: key, filters, ...more })
  const variants = ['control', 'test', 'größer'].map((key, at) => ({ key, name: key, rollout_percentage: [30, 30, 40][at] }))
  const dependency = (key, value) => ({ key, type: 'flag', value, operator: 'flag_evaluates_to', dependency_chain: [key] })
  add('half', { groups: [{ properties: [], rollout_percentage: 50, variant: null }], payloads: {} })
  add('variants', { groups: [{ properties: [], rollout_percentage: 80, variant: null }], payloads: {}, multivariate: { variants } })
  add('needs-half', { groups: [{ properties: [dependency('half', true)], rollout_percentage: 100, variant: null }], payloads: {} })
  add('needs-test', { groups: [{ properties: [dependency('variants', 'test')], rollout_percentage: 100, variant: null }], payloads: {} })
  add('in-cohort', {
    groups: [{ properties: [{ key: 'id', type: 'cohort', value: 17 }], rollout_percentage: 90, variant: null }],
    payloads: {},
  })
  add(
    'of-organization',
    {
      aggregation_group_type_index: 0,
      groups: [
        {
          properties: [{ key: 'name', type: 'group', group_type_index: 0, value: 'Österreich', operator: 'exact' }],
          rollout_percentage: 60,
        },
      ],
      payloads: {},
    },
    {},
  )
}

const COUNTRIES = ['Österreich', 'España', '日本', 'Perú']

/** 200 users, each as the arguments of posthog-node's `getAllFlags()`, to be evaluated locally. */
export const USERS = Array.from({ length: 200 }, (_, n) => [
  `user-${n}`,
  {
    groups: { organization: `org-${n % 23}`, project: `project-${n % 7}` },
    personProperties: {
      email: `user-${n}@${n % 3 ? 'example.com' : 'españa.example'}`,
      plan: ['free', 'scale', 'enterprise'][n % 3],
      country: COUNTRIES[n % 4],
      beta_tester: n % 2 ? 'true' : 'false',
      app_version: `2.${n % 9}.0`,
      seats: String(n % 20),
    },
    groupProperties: { organization: { name: COUNTRIES[n % 4] }, project: { name: COUNTRIES[n % 2] } },
    onlyEvaluateLocally: true,
  },
])
