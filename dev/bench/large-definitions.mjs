// Definitions as large as wanted, like those of a project that has grown. The same text for the same size and seed.

const VARIANT_KEYS = ['control', 'test', 'test-2', 'test-3']
const WORDS =
  'account alert annual audit banner billing bulk cart checkout compact contact coupon credit dashboard digest discount editor email export filter header import inline invite invoice layout legacy limit login mobile notice onboarding order payment picker plan preview pricing profile prompt quota ranking refund report retry reward search seat session share shipping signup sync table theme tooltip trial upload usage wallet webhook widget'.split(
    ' ',
  )
const OTHER_SCRIPTS = [
  'größerer Warenkorb für Österreich',
  'página de pago más rápida',
  'панель управления',
  '新しいダッシュボード',
  'نموذج الدفع',
  'thème sombre ✓',
]
const COUNTRIES = ['AT', 'BR', 'CA', 'DE', 'ES', 'FR', 'GB', 'IN', 'JP', 'MX', 'NL', 'PE', 'SE', 'US']
const FLAGS_TO_A_COHORT = 12
/** One name in so many, 5 %. */
const FLAGS_TO_ANOTHER_SCRIPT = 20

/** What PostHog answers at `/flags/definitions?send_cohorts`, as an object whose JSON has about so many `bytes`. */
export function largeDefinitions({ bytes, seed = 1 }) {
  const random = randomFrom(seed)
  const set = {
    flags: [],
    group_type_mapping: { 0: 'organization', 1: 'project' },
    cohorts: {},
    minimal_flag_called_events: false,
    property_matching_version: 2,
  }
  for (let size = jsonBytes(set); size < bytes; ) {
    const id = set.flags.length + 1
    if (id % FLAGS_TO_A_COHORT === 1) {
      set.cohorts[id] = cohort(random)
      size += jsonBytes(set.cohorts[id])
    }
    set.flags.push(flag(id, random))
    size += jsonBytes(set.flags.at(-1))
  }
  return set
}

/** The index of the flag that the `n`th edit changes, another one than the last. */
export const editedAt = (set, n) => (n * 7_919) % set.flags.length

/** A new set in which that one flag has changed. */
export function edit(set, n) {
  const index = editedAt(set, n)
  const flag = set.flags[index]
  const [first, ...others] = flag.filters.groups
  const filters = { ...flag.filters, groups: [{ ...first, rollout_percentage: (first.rollout_percentage + 1) % 101 }, ...others] }
  return { ...set, flags: set.flags.with(index, { ...flag, filters, version: flag.version + 1 }) }
}

const jsonBytes = (value) => Buffer.byteLength(JSON.stringify(value)) + 1

function flag(id, random) {
  const { chance, from, whole, phrase } = random
  const key = `${phrase(3).replaceAll(' ', '-')}-${id}`
  const variants = chance(0.3) ? variantsOf(random) : undefined
  const ofGroups = chance(0.1)
  return {
    id,
    team_id: 1,
    name: id % FLAGS_TO_ANOTHER_SCRIPT === 7 ? `${from(OTHER_SCRIPTS)} ${id}` : `${phrase(whole(4, 14))} (${key})`,
    key,
    filters: {
      groups: several(whole(1, 5), () => condition(id, random, variants, ofGroups)),
      payloads: payloads(random, variants),
      ...(variants ? { multivariate: { variants } } : {}),
      ...(ofGroups ? { aggregation_group_type_index: 0 } : {}),
    },
    deleted: false,
    active: chance(0.9),
    ensure_experience_continuity: false,
    has_encrypted_payloads: false,
    version: whole(1, 40),
    evaluation_runtime: 'all',
    evaluation_tags: [],
  }
}

function condition(id, random, variants, ofGroups) {
  const { chance, from, whole, phrase } = random
  const inCohort = chance(0.15) && !ofGroups
  const cohortId = id - ((id - 1) % FLAGS_TO_A_COHORT)
  return {
    properties: inCohort
      ? [{ key: 'id', type: 'cohort', value: cohortId, operator: 'in', negation: false }]
      : several(whole(0, 4), () => ({ ...property(random), ...(ofGroups ? { type: 'group', group_type_index: 0 } : { type: 'person' }) })),
    rollout_percentage: from([100, 100, 50, whole(0, 100)]),
    variant: variants && chance(0.2) ? from(variants).key : null,
    description: chance(0.3) ? phrase(6) : null,
  }
}

/** A filter on a property; a few list many values, as hand-picked customers do. */
function property({ chance, from, whole, phrase, email }) {
  const some = chance(0.2) ? whole(8, 40) : whole(1, 4)
  return from([
    () => ({ key: 'email', value: several(some, email), operator: 'exact' }),
    () => ({ key: 'email', value: `@${from(WORDS)}.example`, operator: 'icontains' }),
    () => ({ key: '$geoip_country_code', value: several((some % 9) + 1, () => from(COUNTRIES)), operator: 'exact' }),
    () => ({ key: 'app_version', value: `${whole(1, 9)}.${whole(0, 30)}.${whole(0, 9)}`, operator: 'semver_gte' }),
    () => ({ key: 'organization_id', value: several(some, () => String(whole(1e6, 1e7))), operator: from(['exact', 'is_not']) }),
    () => ({ key: `${from(WORDS)}_count`, value: whole(1, 1_000), operator: from(['gt', 'lt']) }),
    () => ({ key: 'created_at', value: `20${whole(19, 26)}-0${whole(1, 9)}-${whole(10, 28)}`, operator: 'is_date_after' }),
    () => ({ key: phrase(2).replace(' ', '_'), value: 'is_set', operator: 'is_set' }),
  ])()
}

function variantsOf({ whole, phrase }) {
  const keys = VARIANT_KEYS.slice(0, whole(2, 4))
  const share = Math.floor(100 / keys.length)
  return keys.map((key, index) => ({ key, name: phrase(3), rollout_percentage: index === 0 ? 100 - share * (keys.length - 1) : share }))
}

function payloads({ chance, whole, phrase }, variants) {
  if (!chance(0.4)) return {}
  const payload = () =>
    JSON.stringify({ title: phrase(4), text: phrase(whole(5, 100)), limit: whole(1, 500), steps: several(3, () => phrase(2)) })
  return Object.fromEntries((variants?.map(({ key }) => key) ?? ['true']).map((key) => [key, payload()]))
}

function cohort(random) {
  const values = () => several(random.whole(1, 4), () => ({ ...property(random), type: 'person', negation: false }))
  return { type: 'OR', values: several(random.whole(1, 3), () => ({ type: random.from(['AND', 'OR']), values: values() })) }
}

const several = (count, make) => Array.from({ length: count }, make)

/** Draws from a generator of its own (mulberry32), because Math.random cannot be seeded. */
function randomFrom(seed) {
  let state = seed
  const next = () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const whole = (least, most) => least + Math.floor(next() * (most - least + 1))
  const from = (list) => list[whole(0, list.length - 1)]
  const phrase = (length) => several(length, () => from(WORDS)).join(' ')
  const email = () => `${from(WORDS)}.${whole(1e3, 1e6).toString(36)}@${from(WORDS)}.example`
  return { chance: (share) => next() < share, whole, from, phrase, email }
}
