//! The page that says how to check an export without us.

use super::contents::{Sealed, line};
use crate::audit::checkpoint::NoteKey;

/// `README.txt` of an export.
pub(super) fn readme(sealed: &Sealed, key: &NoteKey, nodes: &[&str]) -> String {
    let session = &sealed.manifest.session.session;
    let folder = format!("recordings/{}", sealed.manifest.session.folder().display());
    let node = nodes.first().copied().unwrap_or("NODE");
    PAGE.replace("{session}", session.as_str())
        .replace("{line}", &line(sealed))
        .replace("{folder}", &folder)
        .replace("{node}", node)
        .replace("{key}", &key.to_string())
}

const PAGE: &str = r#"jit-bastion export of {session}
{line}

WHAT IS HERE
  SHA256SUMS, SHA256SUMS.sig   every other file's SHA-256, and the bastion's signature of that list
  {folder}/
                               what was seen, one plain asciicast file a channel, and the manifest that was signed when the session ended
  account.json, request.txt    who asked for what and why, who approved it, what the session was; request.txt is the very text approved
  log/NODE/NUMBER.json         the audit log's entries about this session, its grant and its request, byte by byte as they were logged
  log/NODE/checkpoint          a signed head of that log (C2SP tlog-checkpoint)
  log/NODE/proofs.json         for each entry the path from it to that head (RFC 9162)
  texts.json                   reasons and notes that people typed; the log itself holds only salted digests of them
  checkpoint.pub, .pem         the bastion's public key

TRUST
Everything hangs on one key. Compare it with the one that you got from the bastion's owner some other way:
  {key}

WITH JIT-BASTION, on any machine
  jit-bastion verify --export {session}.tar --key YOUR-COPY-OF-checkpoint.pub

WITHOUT IT, in this folder
1. The list is the bastion's, and every file is as it was listed:
     openssl pkeyutl -verify -pubin -inkey checkpoint.pem -rawin -in SHA256SUMS -sigfile SHA256SUMS.sig
     sha256sum --check --quiet SHA256SUMS
2. The recordings are those that were sealed at the session's end: the manifest has each file's SHA-256, and its own is in the log.
     cd {folder}; sha256sum *.cast; grep -o '"sha256":"[0-9a-f]*"' manifest.json; sha256sum manifest.json; cd -
     grep -h '"session-closed"\|"session-recovered"\|"host-audited"' log/*/*.json
3. The log's head was signed by the same key. The signature is over the lines before the empty one; its first 4 bytes name the key.
     cd log/{node}; sed '/^$/,$d' checkpoint > head; tail -n 1 checkpoint | sed 's/.* //' | base64 -d | tail -c 64 > head.sig
     openssl pkeyutl -verify -pubin -inkey ../../checkpoint.pem -rawin -in head -sigfile head.sig; cd -
4. Each entry stands in the log under that head:
     python3 - log/{node} <<'END'
     import base64, hashlib, json, sys
     h = lambda *parts: hashlib.sha256(b"".join(parts)).digest()
     d = sys.argv[1]; p = json.load(open(d + "/proofs.json"))
     name, size, root = open(d + "/checkpoint").read().split("\n")[:3]
     assert (name, int(size)) == (p["origin"], p["size"])
     for e in p["entries"]:
         n, last = e["seq"], p["size"] - 1
         hash = h(b"\0", open("%s/%08d.json" % (d, n), "rb").read())
         for step in map(bytes.fromhex, e["path"]):
             if n & 1 or n == last:
                 hash = h(b"\1", step, hash)
                 while not n & 1 and n: n >>= 1; last >>= 1
             else:
                 hash = h(b"\1", hash, step)
             n >>= 1; last >>= 1
         assert last == 0 and hash == base64.b64decode(root), e["seq"]
         print("entry", e["seq"], "is in the log")
     END
5. A text is the one that was logged: SHA-256 of its salt (16 bytes) and then the text is the name that it has in texts.json.

LOOK AT IT
  jit-bastion replay --export {session}.tar --key YOUR-COPY-OF-checkpoint.pub
verifies the file, then plays it in any terminal; no byte of the host's reaches that.
  asciinema play {folder}/01-shell.cast
hands the recorded bytes to your terminal, with every escape sequence that the host sent. What was seen holds patient data: guard it.
"#;
