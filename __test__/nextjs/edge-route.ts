import { FlagDefinitionCache } from 'posthog-flag-cache'

export const runtime = 'edge'

export function GET() {
  try {
    return Response.json(new FlagDefinitionCache({ projectKey: 'phc_x' }).status())
  } catch (error) {
    return new Response(String(error))
  }
}
