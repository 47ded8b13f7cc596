"""Pages that try all they can with a visitor who is known to the gateway, and tell what came of it."""

#: `HOST` is the gateway's host:port, `CLUSTER` a cluster of the visitor. Results end up in the page's title.
SCRIPT = """
const api = "http://HOST/api/v1/clusters/", results = {};
async function attempt(name, action) {
    try {
        const wait = new Promise((_, no) => setTimeout(() => no(new Error("nothing came of it")), 3000));
        results[name] = "GOT " + await Promise.race([action(), wait]);
    } catch (error) { results[name] = String(error); }
}
const text = async (url, options) => (await fetch(url, options)).text();
async function all() {
    const send = {method: "POST", body: '{"cluster_options": {}}', credentials: "include"};
    await attempt("list", () => text(api, {credentials: "include"}));
    await attempt("keys", () => text(api + "CLUSTER", {credentials: "include"}));
    await attempt("create as text", () => text(api, {...send, headers: {"Content-Type": "text/plain"}}));
    await attempt("create as json", () => text(api, {...send, headers: {"Content-Type": "application/json"}}));
    await attempt("create unseen", () => text(api, {...send, mode: "no-cors"}).then(() => { throw "sent, unseen"; }));
    await attempt("create untyped", () => text(api, {...send, body: new Blob([send.body]), mode: "no-cors"})
        .then(() => { throw "sent, unseen"; }));
    await attempt("beacon", async () => { navigator.sendBeacon(api, send.body); throw "sent, unseen"; });
    await attempt("stop", () => text(api + "CLUSTER", {method: "DELETE", credentials: "include"}));
    await attempt("cookies", async () => { if (!document.cookie) throw "none"; return document.cookie; });
    await attempt("storage", async () => { localStorage.setItem("a", "b"); return localStorage.getItem("a"); });
    await attempt("worker", () => navigator.serviceWorker.register("worker.js"));
    await attempt("frame", () => new Promise((yes, no) => {
        const frame = document.createElement("iframe");
        frame.src = api + "CLUSTER";
        frame.onload = () => { try { yes(frame.contentDocument.body.innerText); } catch (error) { no(error); } };
        document.body.append(frame);
    }));
    await attempt("form", () => new Promise((yes, no) => {
        const frame = document.createElement("iframe");
        frame.name = "target";
        document.body.append(frame);
        const form = document.createElement("form"), field = document.createElement("input");
        Object.assign(form, {method: "POST", action: api, enctype: "text/plain", target: "target"});
        Object.assign(field, {name: '{"a": "', value: '"}'});
        form.append(field);
        document.body.append(form);
        frame.onload = () => { try { yes(frame.contentDocument.body.innerText); } catch (error) { no(error); } };
        form.submit();
    }));
    await attempt("top", async () => { if (window.top !== window) return window.top.document.title; throw "is top"; });
    document.title = JSON.stringify(results);
}
"""
PAGE = f"<!doctype html><title>waiting</title><body><script>{SCRIPT}all();</script>"
