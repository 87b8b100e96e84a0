//! Log-ins that are no more. A connection that came with one may be on its way to a session still.

use std::sync::{Arc, Weak};

use crate::user::User;

/// Those that ended or gave way to another, for as long as somebody may come with them.
#[derive(Debug, Default)]
pub(super) struct FormerLogins(Vec<Former>);

#[derive(Debug)]
struct Former {
    login: Weak<User>,
    successor: Option<Weak<User>>,
}

impl FormerLogins {
    /// One ended.
    pub(super) fn end(&mut self, login: &Arc<User>) {
        self.add(login, None);
    }

    /// One gave way to another, which was not known before.
    pub(super) fn replace(&mut self, login: &Arc<User>, successor: &Arc<User>) {
        self.add(login, Some(Arc::downgrade(successor)));
    }

    /// The log-in that counts for who comes with this one; `None` where it ended.
    pub(super) fn current(&self, login: &Arc<User>) -> Option<Arc<User>> {
        let mut current = Arc::clone(login);
        while let Some(former) = self.0.iter().find(|former| former.login.as_ptr() == Arc::as_ptr(&current)) {
            current = former.successor.as_ref()?.upgrade()?;
        }
        Some(current)
    }

    fn add(&mut self, login: &Arc<User>, successor: Option<Weak<User>>) {
        self.0.retain(|former| former.login.strong_count() > 0);
        self.0.push(Former { login: Arc::downgrade(login), successor });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_with_a_former_login_is_known_by_the_one_that_took_its_place() {
        let [first, second, third, other] = [(); 4].map(|()| Arc::new(User::default()));
        let mut former = FormerLogins::default();
        former.replace(&first, &second);
        former.replace(&second, &third);
        for login in [&first, &second, &third] {
            assert!(Arc::ptr_eq(&former.current(login).unwrap(), &third));
        }
        assert!(Arc::ptr_eq(&former.current(&other).unwrap(), &other), "of an equal user");
        former.end(&third);
        assert!([&first, &second, &third].iter().all(|login| former.current(login).is_none()));
    }

    #[test]
    fn what_nobody_can_come_with_is_forgotten() {
        let mut former = FormerLogins::default();
        for _ in 0..100 {
            former.end(&Arc::new(User::default()));
        }
        assert_eq!(former.0.len(), 1);
    }
}
