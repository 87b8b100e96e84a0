//! The known hosts and the host keys that are shown: by hand, one kind after another, and drawn by chance.

use super::*;

/// A deterministic source of numbers (splitmix64).
struct Numbers(u64);

// === impl Numbers ===

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

pub(super) fn cases(cast: &Cast) -> Vec<Case> {
    let mut cases = Vec::new();
    by_name(cast, &mut cases);
    by_form(cast, &mut cases);
    by_key(cast, &mut cases);
    by_certificate(cast, &mut cases);
    by_chance(cast, &mut cases);
    cases
}

fn plain(key: &PrivateKey) -> Vec<Identity> {
    vec![Identity::of(key.clone())]
}

/// The line that trusts the server's key.
fn trusted(cast: &Cast, server: Server) -> String {
    line(&server.text("{h},[{h}]:{p}"), &cast.server)
}

/// Names, as they may stand before a key.
fn hosts(cast: &Cast, server: Server) -> Vec<String> {
    let hashed = |name: &str| {
        let text = cast.keygen.hash(&line(&server.text(name), &cast.server));
        text.lines().last().unwrap().split(' ').next().unwrap().to_owned()
    };
    let (own, capitals, at_port) = (hashed("{h}"), hashed("db-2,{H}"), hashed("[{h}]:{p}"));
    let long = |count: usize| "x".repeat(count);
    let plain = "{h} {H} {h}. db-2 db-* d?-1 local* lo?al* {h}? * ** ? ???? ????????? *-1* *o*al* *b*1 {h},db-2 ,{h}, db-2,,{h} \
                 !{h},* *,!{h} *,!{H} !db-2,* *,!db-2 !db-2 ! !* !!{h},* {h},! [{h}]:22 [{h}]:{p} [{H}]:{p} [*]:{p} [{h}]:* \
                 [{h}]:{q} *:{p} [{h}]:0{p} {h}:{p} [{h}] {h}:22 ![{h}]:{p},* [{h}]:{p},!{h} 127.0.0.1,{h} |1| |1|| |1|a|b \
                 |2|a|b {h}| {h}# ä,{h} \u{212a}b-1 db\u{2010}1 {h}\u{1} {h}\u{7f} {h}\u{200b} a@b @,{h}";
    let mut hosts: Vec<_> = plain.split(' ').map(|text| server.text(text)).collect();
    let host = server.host;
    hosts.extend([
        format!("!{own}"),
        format!("{own},{host}"),
        format!("{host},{own}"),
        own.replace("|1|", "|1|A"),
        own.trim_end_matches('=').to_owned(),
        own.clone(),
        capitals,
        at_port,
        format!("{},{host}", long(1022)),
        format!("{},{host}", long(1023)),
        format!("{host},{}", long(1023)),
        format!("{host},{}", long(5000)),
        format!("!{},{host}", long(1022)),
        format!("!{},{host}", long(1023)),
        "*".repeat(1022),
        "*".repeat(1023),
        format!("{}{host}", "db-2,".repeat(1000)),
    ]);
    hosts
}

/// Which names are the host's, and which revoke its key.
fn by_name(cast: &Cast, cases: &mut Vec<Case>) {
    for server in cast.servers {
        for hosts in hosts(cast, server) {
            let mut add = |what: &str, known_hosts| {
                let name = format!("{what} for {hosts:?}");
                cases.push(Case { name, known_hosts, server, presented: plain(&cast.server) });
            };
            add("trusted", line(&hosts, &cast.server));
            add("revoked", trusted(cast, server) + &line(&format!("@revoked {hosts}"), &cast.server));
        }
    }
}

/// How a line is written.
fn by_form(cast: &Cast, cases: &mut Vec<Case>) {
    let [server, _] = cast.servers;
    let trusted = |cast| trusted(cast, server);
    let certified = || vec![cast.fields().identity()];
    let (kind, base64) = words(&public(&cast.server));
    let mut add = |name: String, known_hosts: String, presented: Vec<Identity>| {
        cases.push(Case { name, known_hosts, server, presented });
    };
    for marker in [
        "@revoked ",
        "@cert-authority ",
        "@revoked\t",
        "@cert-authority\t",
        "@Revoked ",
        "@revoked  ",
        " @revoked ",
        "\t@cert-authority ",
        "@revoked @revoked ",
        "@revoked @cert-authority ",
        "@cert-authority @revoked ",
        "@unknown ",
        "@ ",
        "@",
        "@revoked",
        "@cert-authority,",
        "@revoked\r ",
        "@revoked\u{a0}",
        "@cert-authority\u{a0} ",
        "x@revoked ",
        "@cert-authorityy ",
        "\u{c}@revoked ",
        "\u{feff}@revoked ",
        "@revoked\t ",
        "@cert-authority \t",
    ] {
        add(
            format!("marker {marker:?}"),
            trusted(cast) + &line(&format!("{marker}db-1"), &cast.server),
            plain(&cast.server),
        );
        add(format!("marker {marker:?} of an authority"), line(&format!("{marker}db-1"), &cast.authority), certified());
        let tabs = line(&format!("{marker}db-1"), &cast.authority).replace(' ', "\t");
        add(format!("marker {marker:?} of an authority, tabs"), tabs, certified());
    }
    for separator in [
        " ",
        "\t",
        "  ",
        " \t ",
        "\r",
        "\u{b}",
        "\u{c}",
        "\u{a0}",
        "\u{2003}",
        "\0",
        "\r ",
        " \r",
        "\u{85}",
        " \u{feff}",
        "",
    ] {
        for place in 0..4 {
            let mut separators = [" "; 4];
            separators[place] = separator;
            let [a, b, c, d] = separators;
            let rest = format!("db-1{b}{kind}{c}{base64}{d}comment\n");
            add(format!("separator {separator:?} at {place}"), rest.clone(), plain(&cast.server));
            add(
                format!("separator {separator:?} at {place}, revoked"),
                trusted(cast) + &format!("@revoked{a}{rest}"),
                plain(&cast.server),
            );
        }
    }
    for end in ["\n", "\r\n", "\r", "\r\r\n", "\0\n", "", "\u{c}\n", " \n", "\t\r\n", "\u{2028}", "\u{85}"] {
        let entry = format!("db-1 {kind} {base64}");
        add(format!("line end {end:?}"), format!("{entry}{end}"), plain(&cast.server));
        add(format!("line end {end:?} before"), format!("# a comment{end}{entry}\n"), plain(&cast.server));
        add(
            format!("line end {end:?}, revoked"),
            trusted(cast) + &format!("@revoked {entry}{end}# more"),
            plain(&cast.server),
        );
    }
    for start in
        ["", " ", "\t", "\u{c}", "\r", "\u{a0}", "\u{feff}", "#", " #", "\u{c}#", "\0", "\n \n\t\n", "\r\n\r\r\n"]
    {
        add(format!("line start {start:?}"), format!("{start}{}", line("db-1", &cast.server)), plain(&cast.server));
        let revoked = format!("{start}{}", line("@revoked db-1", &cast.server));
        add(format!("line start {start:?}, revoked"), trusted(cast) + &revoked, plain(&cast.server));
    }
    let long = format!("db-1 {kind} {base64} {}\n", "c".repeat(100_000));
    add("a long comment".to_owned(), long, plain(&cast.server));
    add("twice".to_owned(), trusted(cast).repeat(2), plain(&cast.server));
}

/// What stands in a key's place.
fn by_key(cast: &Cast, cases: &mut Vec<Case>) {
    let mut keys: Vec<(&str, String)> = Vec::new();
    let with = |kind: &str, blob: &[u8]| format!("{kind} {}", BASE64_STANDARD.encode(blob));
    for (name, key) in [("ed25519", &cast.server), ("rsa", &cast.rsa)] {
        let blob = public(key);
        let (kind, base64) = words(&blob);
        let (_, rest) = split(&blob);
        keys.extend([
            (name, format!("{kind} {base64}")),
            (name, format!("{} {base64}", kind.to_uppercase())),
            (name, format!("ed25519 {base64}")),
            (name, format!("ssh-rsa {base64}")),
            (name, format!("ecdsa-sha2-nistp256 {base64}")),
            (name, format!("rsa-sha2-256 {base64}")),
            (name, format!("rsa-sha2-512 {base64}")),
            (name, format!("ssh-unknown {base64}")),
            (name, format!("1024 35 {base64}")),
            (name, format!("{kind} {}", base64.trim_end_matches('='))),
            (name, format!("{kind} {base64}=")),
            (name, format!("{kind} {base64}====")),
            (name, format!("{kind} {}", base64.replacen("AAA", "AAA\r", 1))),
            (name, format!("{kind} {}", base64.replacen("AAA", "AAA ", 1))),
            (name, format!("{kind} {}", base64.replacen('A', "_", 1))),
            (name, format!("{kind} !{base64}")),
            (name, format!("{kind} {base64}!")),
            (name, kind.clone()),
            (name, format!("{kind} #")),
            (name, format!("# {base64}")),
            (name, with(&kind, &[&blob[..], b"\0"].concat())),
            (name, with(&kind, &blob[..blob.len() - 1])),
            (name, with("rsa-sha2-256", &Payload::default().string("rsa-sha2-256").raw(&rest).0)),
            (name, with("ssh-future", &Payload::default().string("ssh-future").raw(&rest).0)),
            (name, with(&kind, &Payload::default().string(&kind).0)),
            (name, with(&kind, b"\0\0\xff\xff")),
        ]);
    }
    let rsa = public(&cast.rsa);
    let (exponent, rest) = split(&split(&rsa).1);
    let modulus = split(&rest).0;
    let odd_rsa = |exponent: &[u8], modulus: &[u8]| {
        with("ssh-rsa", &Payload::default().string("ssh-rsa").string(exponent).string(modulus).0)
    };
    keys.extend([
        ("rsa", odd_rsa(&[&[0, 0], &exponent[..]].concat(), &modulus)),
        ("rsa", odd_rsa(&exponent, &[&[0], &modulus[..]].concat())),
        ("rsa", odd_rsa(&exponent, &modulus[1..])),
        ("ed25519", with("ssh-dss", &names(&["ssh-dss", "a", "b", "c", "d"]))),
    ]);
    for fields in [
        cast.fields(),
        Fields { signature: |_| Vec::new(), ..cast.fields() },
        Fields { kind: 1, ..cast.fields() },
        Fields { subject: &cast.other, ..cast.fields() },
        Fields { subject: &cast.authority, ..cast.fields() },
        Fields { before: 1, ..cast.fields() },
        Fields { signature_key: Some(cast.fields().blob()), ..cast.fields() },
    ] {
        let (kind, base64) = words(&fields.blob());
        keys.push(("ed25519", format!("{kind} {base64}")));
        keys.push(("ed25519", format!("ssh-ed25519 {base64}")));
    }
    let (kind, base64) = words(&Fields { subject: &cast.rsa, ..cast.fields() }.blob());
    keys.push(("rsa", format!("{kind} {base64}")));
    keys.push(("rsa", format!("{} {base64}", kind.replace("ssh-rsa", "rsa-sha2-512"))));
    let [server, at_port] = cast.servers;
    for (of, key) in keys {
        let presented = if of == "rsa" { &cast.rsa } else { &cast.server };
        let mut add = |name: &str, known_hosts: String, server, presented| {
            cases.push(Case { name: format!("{name} {key:?}"), known_hosts, server, presented });
        };
        let besides = at_port.text(&format!("[{{h}}]:{{p}} {key}\n"));
        add("key", format!("db-1 {key}\n"), server, plain(presented));
        add("key besides", line("db-1", presented) + &format!("db-1 {key}\n"), server, plain(presented));
        add("key at a port besides", line("localhost", presented) + &besides, at_port, plain(presented));
        add("revoked key", line("db-1", presented) + &format!("@revoked * {key}\n"), server, plain(presented));
        add("authority's key", format!("@cert-authority * {key}\n"), server, vec![cast.fields().identity()]);
        let revoked = line("@cert-authority *", &cast.authority) + &format!("@revoked * {key}\n");
        add("revoked authority's key", revoked, server, vec![cast.fields().identity()]);
    }
    for (key, known) in [(&cast.tiny, &cast.tiny), (&cast.server, &cast.tiny)] {
        for start in ["db-1", "@revoked db-1"] {
            let known_hosts = line(start, known) + &line("db-1", key);
            cases.push(Case { name: format!("a short key, {start}"), known_hosts, server, presented: plain(key) });
        }
    }
    // The exchange itself is signed in another way than was agreed on.
    for (name, hash) in [("SHA-1", None), ("SHA-256", Some(HashAlg::Sha256)), ("SHA-512", Some(HashAlg::Sha512))] {
        let presented = vec![Identity { hash, ..Identity::of(cast.rsa.clone()) }];
        let known_hosts = line("db-1", &cast.rsa);
        cases.push(Case { name: format!("signed with {name}"), known_hosts, server, presented });
        let certified = Identity::of(cast.rsa.clone()).certified(Fields { subject: &cast.rsa, ..cast.fields() }.blob());
        let presented = vec![Identity { hash, ..certified }];
        let known_hosts = line("@cert-authority *", &cast.authority);
        cases.push(Case { name: format!("certified and signed with {name}"), known_hosts, server, presented });
    }
    // A key of another type than was agreed on.
    let presented = vec![Identity { algorithm: "rsa-sha2-512".to_owned(), ..Identity::of(cast.server.clone()) }];
    cases.push(Case { name: "another type".to_owned(), known_hosts: line("db-1", &cast.server), server, presented });
    // Of several keys a server presents the one that is known.
    let all = [&cast.server, &cast.ecdsa, &cast.rsa];
    for known in 0..8 {
        let chosen = all.iter().enumerate().filter(|(number, _)| known & (1 << number) != 0);
        let known_hosts: String = chosen.map(|(_, key)| line("db-1", key)).collect();
        let presented = all.iter().rev().map(|key| Identity::of(PrivateKey::clone(key))).collect();
        cases.push(Case { name: format!("several keys, {known:b}"), known_hosts, server, presented });
    }
}

/// Certificates with every field odd in turn.
fn by_certificate(cast: &Cast, cases: &mut Vec<Case>) {
    let base = || cast.fields();
    let of = |principals: Vec<u8>| Fields { principals, ..cast.fields() };
    let many = |count: usize| {
        let all: Vec<_> = (1..count).map(|number| format!("db-{number}")).chain(["localhost".to_owned()]).collect();
        names(&all.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let year = 365 * 86_400;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let user = Fields { kind: 1, ..base() };
    let nested = Fields { signature_key: Some(cast.fields().blob()), ..base() };
    let all = [
        ("good", base()),
        ("no names", of(names(&[]))),
        ("capitals", of(names(&["DB-1", "LOCALHOST"]))),
        ("pattern", of(names(&["db-*", "local*"]))),
        ("any", of(names(&["*"]))),
        ("one character", of(names(&["db-?", "localhos?"]))),
        ("another name", of(names(&["db-2"]))),
        ("a list in one", of(names(&["db-1,localhost"]))),
        ("a list after it", of(names(&["db-2", "db-1", "localhost"]))),
        ("negated", of(names(&["!db-2", "db-1", "localhost"]))),
        ("empty name", of(names(&[""]))),
        ("empty name and it", of(names(&["", "db-1", "localhost"]))),
        ("zero at its end", of(names(&["db-1\0", "localhost\0"]))),
        ("zero within", of(names(&["db-1\0x", "localhost\0x"]))),
        ("space", of(names(&["db-1 ", "localhost "]))),
        ("with port", of(names(&["[db-1]:22", "[db-1]:2222"]))),
        ("dot", of(names(&["db-1.", "localhost."]))),
        ("256 names", of(many(256))),
        ("257 names", of(many(257))),
        ("no UTF-8", of(Payload::default().string(b"\xff").string("db-1").string("localhost").0)),
        ("names cut off", of(vec![0, 0, 0, 9, b'd'])),
        ("expired", Fields { before: now - year, ..base() }),
        ("not yet", Fields { after: now + year, ..base() }),
        ("now", Fields { after: now - year, before: now + year, ..base() }),
        ("no time", Fields { after: now, before: now, ..base() }),
        ("backwards", Fields { after: now + year, before: now - year, ..base() }),
        ("beyond all time", Fields { after: u64::MAX - 1, ..base() }),
        ("only before", Fields { before: 0, ..base() }),
        ("for users", user),
        ("of no kind", Fields { kind: 0, ..base() }),
        ("of another kind", Fields { kind: 3, ..base() }),
        ("critical option", Fields { critical: options(&["force-command"]), ..base() }),
        ("unknown critical option", Fields { critical: options(&["x@example.com"]), ..base() }),
        ("critical garbage", Fields { critical: vec![1], ..base() }),
        ("extension", Fields { extensions: options(&["permit-pty"]), ..base() }),
        ("unknown extensions", Fields { extensions: options(&["a", "b"]), ..base() }),
        ("extensions out of order", Fields { extensions: options(&["b", "a"]), ..base() }),
        ("an extension twice", Fields { extensions: options(&["a", "a"]), ..base() }),
        ("extension garbage", Fields { extensions: vec![0, 0, 0, 9], ..base() }),
        ("an extension of no UTF-8", Fields { extensions: Payload::default().string(b"\xff").string("").0, ..base() }),
        ("an extension without data", Fields { extensions: Payload::default().string("a").string("").0, ..base() }),
        ("reserved", Fields { reserved: vec![1, 2, 3], ..base() }),
        ("no nonce", Fields { nonce: Vec::new(), ..base() }),
        ("long nonce", Fields { nonce: vec![1; 5000], ..base() }),
        ("no id", Fields { id: Vec::new(), ..base() }),
        ("id of no UTF-8", Fields { id: vec![0xff], ..base() }),
        ("zero in the id", Fields { id: b"a\0b".to_vec(), ..base() }),
        ("serial", Fields { serial: u64::MAX, ..base() }),
        ("by ECDSA", Fields { authority: &cast.ecdsa_authority, ..base() }),
        ("by RSA", Fields { authority: &cast.rsa_authority, ..base() }),
        ("by RSA with SHA-256", Fields { authority: &cast.rsa_authority, hash: Some(HashAlg::Sha256), ..base() }),
        ("by RSA with SHA-1", Fields { authority: &cast.rsa_authority, hash: None, ..base() }),
        ("by a short RSA key", Fields { authority: &cast.tiny, ..base() }),
        ("of a short RSA key", Fields { subject: &cast.tiny, ..base() }),
        ("by itself", Fields { authority: &cast.server, ..base() }),
        ("by a stranger", Fields { authority: &cast.other, ..base() }),
        ("nested", nested),
        ("forged", Fields { authority: &cast.other, signature_key: Some(public(&cast.authority)), ..base() }),
        ("no signature", Fields { signature: |_| Vec::new(), ..base() }),
        ("short signature", Fields { signature: |all| all[..all.len() - 1].to_vec(), ..base() }),
        ("long signature", Fields { signature: |all| [all, vec![0]].concat(), ..base() }),
        (
            "another signature",
            Fields { signature: |all| Payload::default().string("ssh-rsa").raw(split(&all).1).0, ..base() },
        ),
        ("more", Fields { rest: vec![0], ..base() }),
        ("of ECDSA", Fields { subject: &cast.ecdsa, ..base() }),
        ("of RSA", Fields { subject: &cast.rsa, ..base() }),
    ];
    let authorities = [&cast.authority, &cast.ecdsa_authority, &cast.rsa_authority, &cast.tiny, &cast.server];
    let authorities: String = authorities.iter().map(|key| line("@cert-authority db-*,localhost", key)).collect();
    for (number, (name, fields)) in all.iter().enumerate() {
        let server = cast.servers[usize::from(number % 4 == 0)];
        let known = line("db-1,localhost", fields.subject);
        let mut add = |what: &str, known_hosts: String| {
            let presented = vec![fields.identity()];
            cases.push(Case { name: format!("certificate, {name}: {what}"), known_hosts, server, presented });
        };
        add("authority known", authorities.clone());
        add("key known too", authorities.clone() + &known);
        add("key revoked", authorities.clone() + &line("@revoked *", fields.subject));
        add("authority revoked", authorities.clone() + &known + &line("@revoked *", fields.authority));
        if number % 3 == 0 {
            add("only the key known", known.clone() + &line("@cert-authority db-*,localhost", &cast.other));
            add("nothing known", line("db-2", fields.subject));
        }
        let alone = Identity::of(fields.subject.clone());
        if number % 5 == 0 {
            let known_hosts = authorities.clone() + &known;
            cases.push(Case {
                name: format!("certificate or key, {name}"),
                known_hosts,
                server,
                presented: vec![alone, fields.identity()],
            });
        }
    }
}

/// Files of several lines, drawn from all that there is.
fn by_chance(cast: &Cast, cases: &mut Vec<Case>) {
    let mut numbers = Numbers(SEED);
    let hosts = cast.servers.map(|server| hosts(cast, server));
    let markers = ["", "", "", "", "@cert-authority ", "@cert-authority ", "@revoked ", "@revoked\t", "@unknown "];
    let separators = [" ", " ", " ", " ", " ", " ", "\t", "  ", "\r", "\u{c}"];
    let keys = [&cast.server, &cast.server, &cast.authority, &cast.other, &cast.rsa, &cast.ecdsa];
    for number in 0..120 {
        let mut known_hosts = String::new();
        let at = numbers.below(2);
        let server = cast.servers[at];
        let own = server.text("{h},[{h}]:{p}");
        for _ in 0..=numbers.below(5) {
            if numbers.below(8) == 0 {
                known_hosts.push_str(numbers.pick::<&str>(&["\n", "# comment\n", " \t\n", "\r\n"]));
                continue;
            }
            let (kind, base64) = words(&public(numbers.pick::<&PrivateKey>(&keys)));
            // Mostly names that are the host's.
            let host = match numbers.below(3) {
                0 => numbers.pick(&hosts[at]).as_str(),
                1 => own.as_str(),
                _ => "*",
            };
            let (marker, a, b) =
                (numbers.pick::<&str>(&markers), numbers.pick::<&str>(&separators), numbers.pick::<&str>(&separators));
            known_hosts.push_str(&format!("{marker}{host}{a}{kind}{b}{base64}\n"));
        }
        let presented = match numbers.below(4) {
            0 => vec![cast.fields().identity()],
            1 => vec![Identity::of(cast.rsa.clone()), cast.fields().identity(), Identity::of(cast.server.clone())],
            2 => plain(&cast.rsa),
            _ => plain(&cast.server),
        };
        cases.push(Case { name: format!("file {number}"), known_hosts, server, presented });
    }
}
