/**
 * `/` and `/ui`: a page for people, who meet the node in a browser. It has the chart as it runs, how to
 * begin, and where to look further. It loads nothing from elsewhere.
 *
 * @module
 */
import type { Hono } from "hono";
import html from "../page/page.html" with { type: "text" };
import css from "../page/page.css" with { type: "text" };
import script from "../page/page.js" with { type: "text" };

const headers = {
  "content-security-policy":
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; " +
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  // A node that was upgraded must not run with the page of the build before.
  "cache-control": "no-cache",
};

/** Adds the routes. */
export function addPageRoutes(app: Hono): void {
  const serve = (path: string, body: string, type: string): void => {
    app.get(
      path,
      () =>
        new Response(body, { headers: { ...headers, "content-type": `${type}; charset=utf-8` } }),
    );
  };
  serve("/", html, "text/html");
  serve("/ui", html, "text/html");
  serve("/ui/page.css", css, "text/css");
  serve("/ui/page.js", script, "text/javascript");
}
