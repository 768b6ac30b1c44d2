// A realistic set of flag definitions, the same text for the same version and size.

/** The flag whose only variant is the version's name: evaluating it tells which version a process holds. */
export const VERSION_FLAG = 'fleet-version'

const NAMES = ['checkout-redesign', 'größerer-warenkorb', 'search-ranking', 'billing-alerts', 'dark-mode', '新しいダッシュボード']
const COUNTRIES = ['Österreich', 'España', '日本', 'Perú', 'France', 'Ελλάδα']

const name = (id) => `${NAMES[id % NAMES.length]}-${id}`
const person = (key, value, operator = 'exact') => ({ key, type: 'person', value, operator })
const group = (properties, rollout_percentage = 100) => ({ properties, rollout_percentage, variant: null })

/** What PostHog answers at `/flags/definitions`, as an object: `flags` of them, `fleet-version` being the first. */
export function definitions({ version = 'v1', flags = 24 } = {}) {
  const rest = Array.from({ length: Math.max(0, flags - 1) }, (_, index) => SHAPES[index % SHAPES.length](index + 2))
  return {
    flags: [versionFlag(version), ...rest],
    group_type_mapping: { 0: 'organization', 1: 'project' },
    cohorts: COHORTS,
    minimal_flag_called_events: false,
    property_matching_version: 2,
  }
}

const COHORTS = {
  17: cohort('AND', [person('plan', ['scale', 'enterprise']), person('country', COUNTRIES.slice(0, 3))]),
  23: cohort('OR', [person('email', '@example.com', 'icontains'), person('beta_tester', ['true'])]),
}

function versionFlag(version) {
  return flag(1, VERSION_FLAG, {
    groups: [group([])],
    payloads: { [version]: JSON.stringify({ version, note: `Ausgabe ${version} – veröffentlicht ✓` }) },
    multivariate: { variants: [{ key: version, name: '', rollout_percentage: 100 }] },
  })
}

const SHAPES = [
  (id) => flag(id, name(id), { groups: [group([], (id * 7) % 101)], payloads: {} }),
  (id) =>
    flag(id, name(id), {
      groups: [group([person('email', `@${COUNTRIES[id % 6].toLowerCase()}.example`, 'icontains')]), group([], 5)],
      payloads: { true: JSON.stringify({ title: `Grüße №${id}`, limit: id * 10 }) },
    }),
  (id) => flag(id, name(id), { groups: [group([{ key: 'id', type: 'cohort', value: id % 2 ? 17 : 23 }])], payloads: {} }),
  (id) =>
    flag(id, name(id), {
      groups: [group([person('app_version', '2.4.0', 'semver_gte')]), group([person('seats', 10, 'gt')], 50)],
      payloads: { control: '{"colour":"grau"}', test: '{"colour":"grün"}' },
      multivariate: {
        variants: [
          { key: 'control', name: 'Wie bisher', rollout_percentage: 50 },
          { key: 'test', name: 'Neu', rollout_percentage: 50 },
        ],
      },
    }),
  (id) =>
    flag(id, name(id), {
      aggregation_group_type_index: 0,
      groups: [group([{ ...person('name', COUNTRIES[id % 6]), type: 'group', group_type_index: 0 }])],
      payloads: {},
    }),
  (id) => ({ ...flag(id, name(id), { groups: [group([])], payloads: {} }), active: false }),
]

function cohort(type, values) {
  return { type: 'OR', values: [{ type, values: values.map((value) => ({ ...value, negation: false })) }] }
}

function flag(id, key, filters) {
  return {
    id,
    team_id: 1,
    name: `Flag ${id}: ${key}`,
    key,
    filters,
    deleted: false,
    active: true,
    ensure_experience_continuity: false,
    has_encrypted_payloads: false,
    version: 1,
    evaluation_runtime: 'all',
    evaluation_tags: [],
  }
}
