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
  test: { include: ['test/**/*.test.ts'] },
});
