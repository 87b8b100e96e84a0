//! Whether a question asks for the password of this log-in, so that the Secret may answer it. Pure.
//!
//! A machine can ask anything, and what the Secret answers is gone before anybody has looked. So only forms count that are
//! known to ask for just this, word for word; any other question is for the user.

/// What a password is called where the system speaks a language, in lower case, as PAM and its modules have it.
const PASSWORD: [&str; 43] = [
    "password",
    "ldap password",
    "kennwort",
    "passwort",
    "mot de passe",
    "contraseña",
    "clave",
    "contrasenya",
    "pasahitza",
    "contrasinal",
    "senha",
    "palavra-passe",
    "parolă",
    "parola",
    "wachtwoord",
    "lösenord",
    "adgangskode",
    "passord",
    "salasana",
    "lykilorð",
    "parool",
    "parole",
    "slaptažodis",
    "hasło",
    "heslo",
    "geslo",
    "lozinka",
    "jelszó",
    "пароль",
    "парола",
    "лозинка",
    "κωδικός πρόσβασης",
    "パスワード",
    "密码",
    "密碼",
    "암호",
    "口令",
    "비밀번호",
    "סיסמה",
    "كلمة المرور",
    "كلمة السر",
    "รหัสผ่าน",
    "mật khẩu",
];

/// What stands between such a word and the user it is for.
const FOR: [&str; 9] = ["for", "für", "pour", "para", "per", "voor", "för", "dla", "для"];

/// The longest last line that is looked at, in bytes: none of the forms is longer, with the longest names there are.
const MAX_LINE: usize = 512;

/// Whether a prompt whose answer is not shown asks for the password of `user`: by its last line, which is one of
/// - `Password:`, in one of many languages,
/// - `Password for user:` and `Password for user@host:` (FreeBSD, Kerberos),
/// - `user's password:` and `user@host's password:` (OpenSSH),
/// - `(user@host) Password:` (OpenSSH).
pub(super) fn asks_for_password_of(user: &str, prompt: &str) -> bool {
    let Some(line) = prompt.lines().map(str::trim).rfind(|line| !line.is_empty()) else { return false };
    // What is not seen makes a line look like another.
    if line.len() > MAX_LINE || line.contains(super::failure::is_invisible) {
        return false;
    }
    let Some(question) = line.strip_suffix([':', '：']).map(str::trim_end) else { return false };
    let question = match question.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
        Some((who, rest)) if is_user(user, who) => rest.trim_start(),
        Some(_) => return false,
        None => question,
    };
    is_password(question) || is_password_for(user, question) || is_password_of(user, question)
}

fn is_password(words: &str) -> bool {
    PASSWORD.contains(&words.to_lowercase().as_str())
}

/// `Password for user`, `Password for user@host`.
fn is_password_for(user: &str, question: &str) -> bool {
    let Some((words, who)) = question.rsplit_once(' ') else { return false };
    let Some((password, word)) = words.rsplit_once(' ') else { return false };
    is_user(user, who) && FOR.contains(&word.to_lowercase().as_str()) && is_password(password)
}

/// `user's password`, `user@host's password`.
fn is_password_of(user: &str, question: &str) -> bool {
    question.rsplit_once("'s ").is_some_and(|(who, words)| is_user(user, who) && words.eq_ignore_ascii_case("password"))
}

/// Whether `who` is the user, perhaps at a host or of a realm.
fn is_user(user: &str, who: &str) -> bool {
    let rest = who.strip_prefix(user);
    let of =
        |place: &str| !place.is_empty() && place.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:%[]".contains(c));
    !user.is_empty() && rest.is_some_and(|rest| rest.is_empty() || rest.strip_prefix('@').is_some_and(of))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_of_this_log_in_is_recognized() {
        for prompt in [
            "Password: ",
            "Password:",
            "password: ",
            "PASSWORD:",
            "Password :",
            "\r\nPassword: ",
            "Password:\r\n",
            "Password:\n\n",
            "\tPassword:\t",
            "LDAP Password: ",
            "(ops@db-1) Password: ",
            "(ops@db-1.example.com) Password for ops@db-1.example.com:",
            "(ops) Password:",
            "ops@db-1's password: ",
            "ops@10.0.4.12's password:",
            "ops@[fe80::1%eth0]:22's password:",
            "ops's password: ",
            "Password for ops: ",
            "Password for ops@db-1:",
            "Password for ops@EXAMPLE.COM: ",
            "Authorized use only.\nPassword: ",
            "Your password expires in 3 days.\r\n\r\nPassword for ops@freebsd.example.com:",
            "Enter the sudo password below.\nPassword:",
            "Passwort: ",
            "Passwort für ops:",
            "Kennwort:",
            "Mot de passe : ",
            "Mot de passe\u{a0}: ",
            "Mot de passe\u{202f}: ",
            "Mot de passe pour ops@db-1 :",
            "Contraseña: ",
            "Contraseña para ops:",
            "Clave: ",
            "Senha: ",
            "Palavra-passe: ",
            "Wachtwoord: ",
            "Wachtwoord voor ops:",
            "Lösenord: ",
            "Adgangskode: ",
            "Passord: ",
            "Salasana: ",
            "Hasło: ",
            "Hasło dla ops:",
            "Heslo: ",
            "Geslo:",
            "Lozinka:",
            "Jelszó: ",
            "Parola: ",
            "Parolă: ",
            "Пароль: ",
            "ПАРОЛЬ:",
            "Пароль для ops: ",
            "Парола: ",
            "Κωδικός πρόσβασης:",
            "パスワード:",
            "パスワード：",
            "密码：",
            "密码:",
            "密碼：",
            "口令：",
            "암호: ",
            "비밀번호:",
            "סיסמה:",
            "كلمة المرور:",
            "Mật khẩu:",
        ] {
            assert!(asks_for_password_of("ops", prompt), "{prompt:?}");
        }
    }

    #[test]
    fn every_other_question_is_for_the_user() {
        for prompt in [
            "",
            " ",
            "\n",
            ":",
            "Password",
            "Password? ",
            "Password> ",
            "Password:?",
            "Password: :",
            "Password: or token",
            "SMS password:",
            "Enter next password:",
            "Next password:",
            "New password: ",
            "New Password:",
            "Retype new password: ",
            "Password (again):",
            "Confirm password:",
            "Current password: ",
            "(current) UNIX password: ",
            "Old password:",
            "Sudo password for root:",
            "[sudo] password for ops: ",
            "[sudo] Passwort für ops:",
            "sudo: password:",
            "Root password:",
            "root's password:",
            "root@db-1's password:",
            "Password for root:",
            "Password for root@db-1:",
            "Password for opsy:",
            "Password for ops2@db-1:",
            "Password for OPS:",
            "Password for ops@:",
            "Password for ops@db 1:",
            "Password for ops at db-1:",
            "Password for ops@db-1, then your token:",
            "Passwort für root:",
            "(root@db-1) Password: ",
            "(db-1) Password:",
            "(ops@db-1 Password:",
            "(ops@db-1) (root) Password:",
            "Password for \"root\":",
            "Master password of ops:",
            "Master password of the vault:",
            "Vault password:",
            "Database password:",
            "Bastion password:",
            "RSA password:",
            "One-time password (OATH) for `ops': ",
            "One-time password:",
            "OTP password:",
            "Password + OTP:",
            "Password + token: ",
            "Password and code:",
            "Passcode: ",
            "Enter PASSCODE: ",
            "PIN:",
            "Verification code: ",
            "Token:",
            "Passphrase:",
            "Enter passphrase for key 'id_ed25519':",
            "Duo two-factor login",
            "WebShell password:",
            "Your portal password:",
            "Password:\nfor the vault:",
            "Password:\nNew password:",
            "Password\u{202e}:",
            "\u{202e}Password:",
            "Pass\u{200b}word:",
            "Pass\u{ad}word:",
            "Password\u{2060}:",
            "\u{1b}[8mSMS \u{1b}[0mPassword:",
            "Password\u{7}:",
            "Pass\u{8}word:",
            "SMS\rPassword:",
            "Pаssword:",
            "Neues Passwort:",
            "Nouveau mot de passe :",
            "Nueva contraseña:",
            "Новый пароль:",
            "新密码：",
            "一次性密码：",
            "短信密码：",
        ] {
            assert!(!asks_for_password_of("ops", prompt), "{prompt:?}");
        }
        assert!(!asks_for_password_of("ops", &format!("Password for ops@{}:", "a".repeat(1000))));
        assert!(!asks_for_password_of("", "Password for :"));
    }

    #[test]
    fn names_with_signs_are_taken_as_they_are() {
        for user in ["o'brien", "a.b", "svc_web", "web@corp.example.com", "DOMAIN\\ops", "s's"] {
            assert!(asks_for_password_of(user, &format!("Password for {user}:")), "{user}");
            assert!(asks_for_password_of(user, &format!("{user}@db-1's password:")), "{user}");
            assert!(!asks_for_password_of("ops", &format!("{user}'s password:")), "{user}");
        }
    }
}
