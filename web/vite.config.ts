// How the page is built: relative addresses, because the gateway serves it under any namespace and rewrites them.
import { defineConfig } from 'vitest/config';

export default defineConfig({
  base: './',
  build: {
    target: 'es2023',
    // Every asset is a file with a hashed name: the page's Content-Security-Policy allows no data: addresses.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    license: { fileName: 'assets/licenses.md' },
    chunkSizeWarningLimit: 1024,
  },
  // Generous, for machines that do other things meanwhile; all of them take a few seconds together.
  test: { include: ['test/**/*.test.ts'], testTimeout: 60_000 },
});
