// A registry on 127.0.0.1 that has our packages, and sends those who ask for others on to the real one.

import { execFileSync } from 'node:child_process'
import { createReadStream } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'

/** Old enough for package managers that refuse what is new. */
const PUBLISHED = '2024-01-01T00:00:00.000Z'

/** `{ url, downloads, close() }`; `downloads` has the names of those of our tarballs that were asked for. */
export async function startRegistry(packages) {
  const upstream = execFileSync('npm', ['config', 'get', 'registry'], { cwd: tmpdir(), encoding: 'utf8' }).trim().replace(/\/$/, '')
  const byName = new Map(packages.map((packed) => [packed.manifest.name, packed]))
  const downloads = []
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url, url).pathname.slice(1))
    const packed = byName.get(path)
    if (packed) return response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(documentOf(packed)))
    if (!path.startsWith('tarballs/')) return response.writeHead(302, { location: upstream + request.url }).end()
    const { tarball } = byName.get(path.slice('tarballs/'.length))
    downloads.push(path.slice('tarballs/'.length))
    if (!tarball) return response.writeHead(404).end()
    createReadStream(tarball).pipe(response.writeHead(200))
  })

  function documentOf({ manifest, integrity }) {
    const { name, version } = manifest
    const dist = { tarball: `${url}/tarballs/${name}`, integrity: integrity ?? 'sha512-AAAA' }
    return {
      name,
      'dist-tags': { latest: version },
      time: { created: PUBLISHED, modified: PUBLISHED, [version]: PUBLISHED },
      versions: { [version]: { ...manifest, dist } },
    }
  }

  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${server.address().port}`
  const close = () => {
    server.close()
    server.closeAllConnections()
  }
  return { url, downloads, close }
}
