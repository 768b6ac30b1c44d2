'use client'

import { useRouter } from 'next/navigation'
import { useEffect } from 'react'

/** Renders the page anew every second. */
export function Refresh() {
  const { refresh } = useRouter()
  useEffect(() => {
    const timer = setInterval(refresh, 1_000)
    return () => clearInterval(timer)
  }, [refresh])
  return null
}
