export declare function use(posthogNode: object, flagCache: object, print?: (line: string) => unknown): Promise<void>
